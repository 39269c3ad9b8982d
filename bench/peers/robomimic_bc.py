"""Times `robomimic`'s behaviour cloning, in that package's own environment, for bc_throughput.

Arguments: the data (.npz) and the settings (JSON). Prints samples per CPU second.
"""

import json
from pathlib import Path
import sys
import time
from unittest.mock import MagicMock

try:
    import torchvision  # noqa: F401
except (ImportError, RuntimeError):  # one for another torch; only camera images need it
    for name in ('', '.models', '.transforms', '.transforms.functional'):
        sys.modules[f'torchvision{name}'] = MagicMock()

import h5py
import numpy as np
from robomimic.algo import algo_factory
from robomimic.config import config_factory
from robomimic.utils.dataset import SequenceDataset
import robomimic.utils.obs_utils as ObsUtils
import torch
from torch.utils.data import DataLoader

data, settings = np.load(sys.argv[1]), json.loads(sys.argv[2])
states, actions = data['states'], data['actions']
torch.set_num_threads(1)
path = Path(sys.argv[1]).with_suffix('.hdf5')
with h5py.File(path, 'w') as file:
    for index in range(len(states) // settings['ticks']):
        frames = slice(index * settings['ticks'], (index + 1) * settings['ticks'])
        demonstration = file.create_group(f'data/demo_{index}')
        demonstration.attrs['num_samples'] = settings['ticks']
        demonstration['obs/state'] = states[frames]
        demonstration['actions'] = np.clip(actions[frames], -1, 1)

config = config_factory('bc')
with config.unlocked():
    config.observation.modalities.obs.low_dim = ['state']
    config.observation.modalities.goal.low_dim = []
    config.algo.actor_layer_dims = settings['hidden']
    config.algo.gaussian.enabled = config.algo.gmm.enabled = config.algo.vae.enabled = False
    config.algo.optim_params.policy.learning_rate.initial = settings['learning_rate']
ObsUtils.initialize_obs_utils_with_config(config)
dataset = SequenceDataset(
    str(path),
    obs_keys=['state'],
    dataset_keys=['actions'],
    hdf5_cache_mode='all',
    load_next_obs=False,
)
loader = DataLoader(dataset, batch_size=settings['batch_size'], shuffle=True)
model = algo_factory(
    'bc', config, {'state': [states.shape[1]]}, actions.shape[1], torch.device('cpu')
)
model.set_train()


def epoch(number: int) -> None:
    for batch in loader:
        batch = model.process_batch_for_training(batch)
        model.train_on_batch(model.postprocess_batch_for_training(batch, None), number)


epoch(0)
start = time.thread_time()
for number in range(settings['epochs']):
    epoch(number + 1)
print(len(states) * settings['epochs'] / (time.thread_time() - start))
