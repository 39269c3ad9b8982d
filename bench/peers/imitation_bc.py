"""Times `imitation`'s behaviour cloning, in that package's own environment, for bc_throughput.

Arguments: the data (.npz) and the settings (JSON). Prints samples per CPU second.
"""

import json
import sys
import time

from gymnasium import spaces
from imitation.algorithms.bc import BC
from imitation.data.types import Transitions
import numpy as np
from stable_baselines3.common.policies import ActorCriticPolicy
import torch

data, settings = np.load(sys.argv[1]), json.loads(sys.argv[2])
states, actions = data['states'], data['actions']
torch.set_num_threads(1)
inputs, outputs = (
    spaces.Box(-np.inf, np.inf, (array.shape[1],), np.float32) for array in (states, actions)
)
learner = BC(
    observation_space=inputs,
    action_space=outputs,
    rng=np.random.default_rng(0),
    policy=ActorCriticPolicy(
        inputs,
        outputs,
        lambda progress: settings['learning_rate'],
        net_arch={'pi': settings['hidden'], 'vf': []},
    ),
    demonstrations=Transitions(
        obs=states,
        acts=actions,
        infos=np.array([{}] * len(states)),
        next_obs=states,
        dones=np.zeros(len(states), bool),
    ),
    batch_size=settings['batch_size'],
    device='cpu',
)
quiet = {'progress_bar': False, 'log_interval': 10**9}
learner.train(n_epochs=1, **quiet)
start = time.thread_time()
learner.train(n_epochs=settings['epochs'], **quiet)
print(len(states) * settings['epochs'] / (time.thread_time() - start))
