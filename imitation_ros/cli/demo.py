"""`demo`: the whole loop on the simulated arm, in a few minutes, and a report of what happened.

A scripted expert teleoperates the arm over topics while the recorder records; a policy is cloned
from the recording; its node drives the arm over the same topics; what it reaches is measured; and
DAgger corrects a policy that was cloned from fewer demonstrations. At last a reward is inferred
from recorded demonstrations, and another policy learns from that reward alone. With `--all`, tasks
that nobody has trained on are shown once each, and done.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
import json
from pathlib import Path
import shutil
import time
from typing import Any

from imitation_ros.cli._console import (
    add_task_arguments,
    as_seed,
    console,
    contract_of,
    print_table,
    progress,
)
from imitation_ros.cli._demo_meta import learn_from_one
from imitation_ros.cli.evaluate import evaluate_over_topics, TEST_SEEDS
from imitation_ros.cli.irl import REWARD_EVERY
from imitation_ros.cli.meta import check_seeds, TRAINING_SEEDS
from imitation_ros.cli.record import record_expert
from imitation_ros.cli.train import loss_note
from imitation_ros.errors import ImitationError

MARK = '.imitation_ros_demo'
"""A file in a demo's folder: only a folder that holds it is cleared for the next demo."""
SEEDS_A_RUN = 1000
IRL_TASK = 'reach'
"""Learned from random weights, within the time of a demo."""
IRL_DEMONSTRATIONS = 20
CURVE_SCENES = 30
DAGGER_EPISODES = 6
FILM_EPISODES = 3


@dataclass
class Demo:
    """One run: its settings, and what the stages so far have found out.

    Attributes:
        task: simulated task.
        contract: name or path.
        seed: of the run; the same seed repeats it.
        episodes: demonstrations.
        rollouts: over topics, of each policy.
        rounds: of DAgger.
        irl_steps: of the environment, for the actor that learns from the inferred reward.
        meta_tasks: that what learns from one demonstration is trained on; 0 leaves it out.
        meta_steps: of its optimizer.
        out: folder of everything.
        cloned: labels → success in process of a policy cloned from them.
        expert: success of the expert in the same scenes.
        summary: what `summary.json` will hold, a key a stage.
        sections: of the report, in order.
    """

    task: str
    contract: str
    seed: int
    episodes: int
    rollouts: int
    rounds: int
    irl_steps: int
    meta_tasks: int
    meta_steps: int
    out: Path
    cloned: dict[int, Any] = field(default_factory=dict)
    expert: Any = None
    summary: dict[str, Any] = field(default_factory=dict)
    sections: list[Any] = field(default_factory=list)

    @property
    def stages(self) -> int:
        """How many there are to tell of."""
        return 9 if self.meta_tasks else 7

    @property
    def demonstration_seed(self) -> int:
        """Of the first demonstrated scene."""
        return self.seed * SEEDS_A_RUN

    @property
    def test_seeds(self) -> range:
        """Of the scenes that nobody has trained on."""
        first = TEST_SEEDS + self.seed * SEEDS_A_RUN
        return range(first, first + self.rollouts)

    @property
    def curve_seeds(self) -> range:
        """Of the scenes in which policies are compared in process."""
        return range(self.test_seeds.stop, self.test_seeds.stop + CURVE_SCENES)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    add_task_arguments(parser)
    parser.add_argument('--out', type=Path, default=Path('out/demo'), help='folder of the results')
    parser.add_argument('--seed', type=as_seed, default=0, help='the same seed repeats the demo')
    parser.add_argument('--episodes', type=int, default=50, help='demonstrations to record')
    parser.add_argument('--rollouts', type=int, default=25, help='roll-outs over topics')
    parser.add_argument('--rounds', type=int, default=4, help='of DAgger')
    parser.add_argument(
        '--irl-steps', type=int, default=2500, help='of the actor that learns from a reward'
    )
    parser.add_argument(
        '--all', action='store_true', help='at last learn from one demonstration, 2 minutes more'
    )
    parser.add_argument(
        '--meta-tasks', type=int, default=100, help='that it is trained on (--all)'
    )
    parser.add_argument(
        '--meta-steps', type=int, default=1500, help='of what learns from one (--all)'
    )


def run(options: argparse.Namespace) -> int:
    """Runs all stages and writes the report."""
    if (
        options.episodes < 2
        or min(options.rollouts, options.rounds, options.meta_steps) < 1
        or options.irl_steps < REWARD_EVERY
    ):
        raise ImitationError(
            'valid: --episodes of at least 2, --rollouts, --rounds and --meta-steps of 1, '
            f'--irl-steps of {REWARD_EVERY}'
        )
    if options.all:
        check_seeds(options.meta_tasks, options.seed % TRAINING_SEEDS)
    started = time.monotonic()
    demo = Demo(
        options.task,
        contract_of(options),
        options.seed,
        options.episodes,
        options.rollouts,
        options.rounds,
        options.irl_steps,
        options.meta_tasks if options.all else 0,
        options.meta_steps,
        _cleared(options.out),
    )
    demonstrate(demo)
    clone(demo)
    correct(demo)
    infer(demo)
    if options.all:
        learn_from_one(demo)
    write_results(demo, time.monotonic() - started)
    return 0


def demonstrate(demo: Demo) -> None:
    """The expert drives over topics, the recorder records."""
    from imitation_ros.episodes.inspect import inspect_episode
    from imitation_ros.learning.evaluation import Evaluation
    from imitation_ros.report.page import Section, Table

    with progress(f'1/{demo.stages} record over topics', demo.episodes) as advance:
        results = record_expert(
            demo.task, demo.contract, demo.out / 'demonstrations', demo.episodes,
            demo.demonstration_seed, advance=advance, log_dir=demo.out / 'logs/record',
        )  # fmt: skip
    expert = Evaluation(
        tuple(result.seed for result in results),
        tuple(result.success for result in results),
        tuple(result.ticks for result in results),
    )
    demo.summary['expert'] = {'success': expert.success, 'episodes': len(results)}
    first = inspect_episode(next(result.path for result in results if result.path))
    rows = [(topic.name, topic.type, topic.messages) for topic in first.topics]
    demo.sections.append(
        Section(
            'What was recorded',
            f'A scripted expert teleoperated the arm {len(results)} times over ROS 2 topics; '
            f'{sum(expert.successes)} tries succeeded. Each is a rosbag2 folder with every '
            'message as it was sent. The first one holds:',
            Table(('topic', 'type', 'messages'), rows),
        )
    )


def clone(demo: Demo) -> None:
    """Learns from the recording, drives over topics, and measures."""
    from imitation_ros.episodes.training_set import TrainingSet
    from imitation_ros.frames.contract import load_contract
    from imitation_ros.learning.bc import BCConfig, train_bc
    from imitation_ros.learning.evaluation import evaluate, EXPERT
    from imitation_ros.report import plots
    from imitation_ros.report.page import Picture, Section

    contract = load_contract(demo.contract)
    demonstrations = TrainingSet.from_folder(demo.out / 'demonstrations', contract)
    amounts = sorted({max(2, demo.episodes * part // 5) for part in (1, 2, 5)})
    config, curve, policies = BCConfig(), {}, {}
    seeds = demo.curve_seeds
    for amount in amounts:
        folder = demo.out / f'checkpoints/bc_{amount}'
        with progress(f'2/{demo.stages} clone {amount} demonstrations', config.epochs) as advance:
            policies[amount], record = train_bc(
                demonstrations.subset(range(amount)), config, demo.seed, folder,
                lambda epoch, train, held_out: advance(loss_note(train, held_out)),
            )  # fmt: skip
        with progress('    success in process', len(seeds)) as advance:
            curve[amount] = evaluate(
                demo.task, demo.contract, folder, seeds,
                progress=lambda done: advance(completed=done),
            )  # fmt: skip
    with console.status('the expert on the same scenes'):
        expert = evaluate(demo.task, demo.contract, EXPERT, seeds)
    with progress(f'3/{demo.stages} drive over topics', demo.rollouts) as advance:
        cloned = evaluate_over_topics(
            demo.task, demo.contract, folder, demo.test_seeds, advance, demo.out / 'logs/deploy'
        )
    lengths = [len(episode) for episode in demonstrations]
    demo.cloned = {sum(lengths[:amount]): curve[amount] for amount in amounts}
    demo.expert, frames = expert, sum(lengths)
    demo.summary['bc'] = {
        'success': cloned.success, 'episodes': len(cloned.seeds), 'labels': frames
    }  # fmt: skip
    plots_folder = demo.out / 'plots'
    loss = plots.plot_losses(
        plots_folder / 'loss.png', record.train_loss, record.validation_loss, record.best_epoch - 1
    )
    success = plots.plot_success(plots_folder / 'success.png', {'cloned policy': curve}, expert)
    few = amounts[len(amounts) // 3]
    shift = _measure_shift(demo, policies[few], contract)
    film = _film(demo, policies[demo.episodes], contract)
    low, high = cloned.interval
    demo.sections += [
        Section(
            'What was learned',
            f'A neural network was fitted to the {frames} demonstrated frames: given what the '
            'policy observes, do what the expert did. Over topics the cloned policy succeeded in '
            f'{sum(cloned.successes)} of {len(cloned.seeds)} new scenes '
            f'({low:.0%} to {high:.0%} with 95 % confidence).',
            figures=[Picture(film, 'The cloned policy in new scenes.')],
        ),
        Section(
            'How it learned',
            'The loss on episodes that were held out says when to stop. More demonstrations cover '
            'more of the states that the policy meets.',
            figures=[
                Picture(loss, 'Negative log likelihood of the demonstrated actions.'),
                Picture(success, f'Success in {len(seeds)} new scenes, with 95 % intervals.'),
            ],
        ),
        Section(
            'Why cloning is not enough',
            'On its own, the policy comes to states that no demonstration shows, and errs more '
            'there: the covariate shift. DAgger asks the expert for labels in just those states.',
            figures=[
                Picture(
                    shift,
                    f'The policy cloned from {few} demonstrations. In units of half the action '
                    'range; a wrong class counts 1.',
                )
            ],
        ),
    ]


def correct(demo: Demo) -> None:
    """Policy and expert drive by turns over topics; the expert labels what the policy sees."""
    from imitation_ros.cli.dagger import episodes_of, run_rounds, training
    from imitation_ros.learning.dagger import DaggerConfig
    from imitation_ros.learning.evaluation import evaluate
    from imitation_ros.nodes.collector import TopicsCollector
    from imitation_ros.report import plots
    from imitation_ros.report.page import Picture, Section, Table
    from imitation_ros.supervision.gates import GateConfig

    config = DaggerConfig(
        GateConfig('beta', beta=0.5, beta_per_tick=True), training(epochs=100),
        initial_episodes=max(2, demo.episodes * 2 // 5), episodes=DAGGER_EPISODES,
        rounds=demo.rounds, held_out_every=0,
    )  # fmt: skip
    run, curve = demo.out / 'dagger', {}
    with progress(f'4/{demo.stages} DAgger over topics', episodes_of(config)) as advance:
        collector = TopicsCollector(demo.task, demo.contract, demo.out / 'logs/dagger', advance)
        result = run_rounds(
            demo.task, demo.contract, collector, config, run, demo.seed, advance=advance
        )
    with progress('    success in process', len(result.rounds)) as advance:
        for each in result.rounds:
            checkpoint = run / f'round_{each.number:03d}/checkpoint'
            success = evaluate(demo.task, demo.contract, checkpoint, demo.curve_seeds)
            curve[each.label_total] = success
            advance(f'{each.label_total} labels: {success.success:.0%}')
    with progress(f'5/{demo.stages} drive over topics', demo.rollouts) as advance:
        corrected = evaluate_over_topics(
            demo.task, demo.contract, result.checkpoint, demo.test_seeds, advance,
            demo.out / 'logs/deploy_dagger',
        )  # fmt: skip
    demo.summary['dagger'] = {
        'success': corrected.success, 'labels': result.labels, 'rounds': len(result.rounds) - 1
    }  # fmt: skip
    picture = plots.plot_success(
        demo.out / 'plots/dagger.png', {'cloned policy': demo.cloned, 'DAgger': curve},
        demo.expert, 'expert labels', 'Success by number of expert labels',
    )  # fmt: skip
    rows = [
        (
            each.number, each.label_total, f'{curve[each.label_total].success:.0%}',
            f'{each.intervention_rate:.0%}',
        )
        for each in result.rounds
    ]  # fmt: skip
    demo.sections.append(
        Section(
            'Asking the expert where it matters',
            f'DAgger began with {config.initial_episodes} demonstrations. In each round policy '
            'and expert drove by turns, tick by tick, and the expert labelled every state that '
            'they came to; then the policy was trained again. Over topics it succeeded in '
            f'{sum(corrected.successes)} of {len(corrected.seeds)} new scenes.',
            Table(('round', 'labels so far', 'success', 'share that the expert drove'), rows),
            [Picture(picture, f'Success in {CURVE_SCENES} new scenes, with 95 % intervals.')],
        )
    )


def infer(demo: Demo) -> None:
    """A reward is inferred from recorded demonstrations, and an actor improved on it, by turns."""
    from imitation_ros.cli.irl import adversarial, learn, recorded
    from imitation_ros.frames.contract import load_contract
    from imitation_ros.learning.irl.network import RewardConfig
    from imitation_ros.learning.irl.sim_tasks import SimTask
    from imitation_ros.report.page import Picture, Section

    contract, folder = load_contract('panda_reach'), demo.out / 'irl'
    with progress(f'6/{demo.stages} record {IRL_TASK} over topics', IRL_DEMONSTRATIONS) as advance:
        record_expert(
            IRL_TASK, 'panda_reach', folder / 'demonstrations', IRL_DEMONSTRATIONS,
            demo.demonstration_seed, advance=advance, log_dir=demo.out / 'logs/record_irl',
        )  # fmt: skip
    demonstrations = recorded(folder / 'demonstrations', contract, IRL_DEMONSTRATIONS)
    task = SimTask(IRL_TASK, contract, fixed_horizon=False)
    with progress(f'7/{demo.stages} infer a reward', demo.irl_steps) as advance:
        result = learn(
            task, demonstrations, RewardConfig(), adversarial(demo.irl_steps), demo.seed, folder,
            advance,
        )  # fmt: skip
    told = ('separation', 'success', 'environment_steps')
    demo.summary['irl'] = {name: result[name] for name in told}
    demo.sections.append(
        Section(
            'What is worth imitating',
            f'Inverse reinforcement learning, on the task {IRL_TASK}: a reward network learned to '
            f'score {IRL_DEMONSTRATIONS} recorded demonstrations above an actor, and the actor, '
            'from random weights, learned from that reward alone; the two took turns. After '
            f'{result["environment_steps"]} steps of the environment it succeeded in '
            f'{result["success"]:.0%} of new scenes. The reward remains: it says, tick by tick, '
            'how well a robot is doing.',
            figures=[
                Picture(folder / 'reward_film.gif', 'A demonstration and a failure, with '
                        'the learned reward: 0 is random behaviour, 1 the expert.'),
                Picture(folder / 'alternation.png', 'Separation of expert and actor by the '
                        'reward, success and return, while the two take turns.'),
                Picture(folder / 'reward_along.png', 'The learned reward along two episodes.'),
                Picture(folder / 'reward_map.png', 'What the learned reward pays for standing '
                        'still, over the workspace.'),
            ],
        )
    )  # fmt: skip


def write_results(demo: Demo, seconds: float) -> None:
    """`summary.json`, `report.html` and a table."""
    from imitation_ros.report.page import write_page

    (demo.out / 'summary.json').write_text(json.dumps(demo.summary, indent=1) + '\n')
    expert, cloned, corrected, irl = (
        demo.summary[key] for key in ('expert', 'bc', 'dagger', 'irl')
    )
    lead = (
        f'Task {demo.task}: the expert succeeds in {expert["success"]:.0%} of its tries, the '
        f'policy cloned from {demo.episodes} demonstrations ({cloned["labels"]} labels) in '
        f'{cloned["success"]:.0%}, DAgger with {corrected["labels"]} labels in '
        f'{corrected["success"]:.0%}. Task {IRL_TASK}: an actor that learned from an inferred '
        f'reward succeeds in {irl["success"]:.0%}. '
        f'It took {seconds:.0f} s.'
    )
    meta = demo.summary.get('meta')
    if meta:
        lead += f' After one demonstration of a task it succeeds in {meta["success"]:.0%}.'
    write_page(demo.out / 'report.html', 'An arm learns from demonstrations', lead, demo.sections)
    rows = [
        ('expert', f'{expert["success"]:.1%}', expert['episodes'], ''),
        ('cloned policy', f'{cloned["success"]:.1%}', cloned['episodes'], cloned['labels']),
        ('DAgger', f'{corrected["success"]:.1%}', demo.rollouts, corrected['labels']),
    ]
    print_table(f'{demo.task}, over topics', ('who', 'success', 'episodes', 'labels'), rows)
    inferred = [(f'{irl["success"]:.1%}', irl['environment_steps'], f'{irl["separation"]:.2f}')]
    print_table(
        f'{IRL_TASK}, from an inferred reward',
        ('success', 'environment steps', 'separation of expert and actor'), inferred,
    )  # fmt: skip
    if meta:
        row = (f'{meta["success"]:.1%}', meta['tasks'], meta['scenes'], meta['adaptation_s'])
        header = ('success', 'unseen tasks', 'scenes of each', 'adaptation (s)')
        print_table('after one demonstration, over topics', header, [row])
    print(f'{demo.out / "report.html"} shows what happened, in {seconds:.0f} s')


def _measure_shift(demo: Demo, policy: Any, contract: Any) -> Path:
    from imitation_ros.learning.covariate_shift import on_demonstrations, on_own_states
    from imitation_ros.report.plots import plot_covariate_shift
    from imitation_ros.sim.env import ArmEnv
    from imitation_ros.sim.experts import make_expert
    from imitation_ros.sim.rollout import roll_out

    with console.status(f'3/{demo.stages} measuring the covariate shift'):
        env, expert = ArmEnv(demo.task, contract), make_expert(demo.task, contract)
        first = demo.test_seeds.stop + 100
        own, _ = on_own_states(policy, expert, env, range(first, first + 20))
        held_out = [roll_out(env, expert, seed).to_episode() for seed in range(first, first + 20)]
        shown = on_demonstrations(policy, held_out, contract.action_specs)
        env.close()
        distances = {'its own states': own, 'held-out demonstrations': shown}
        return plot_covariate_shift(demo.out / 'plots/shift.png', distances, contract.rate_hz)


def _film(demo: Demo, policy: Any, contract: Any) -> Path:
    """The policy in its first test scenes."""
    from imitation_ros.cli._films import film_policy
    from imitation_ros.sim.env import ArmEnv

    with progress(f'3/{demo.stages} film', FILM_EPISODES) as advance:
        env = ArmEnv(demo.task, contract)
        film = film_policy(
            demo.out / 'film', env, policy, demo.test_seeds[:FILM_EPISODES], advance
        )
        env.close()
    return film


def _cleared(out: Path) -> Path:
    """An empty folder that is marked as ours; what others wrote is never removed."""
    if out.exists() and any(out.iterdir()):
        if not (out / MARK).exists():
            raise ImitationError(f'{out} is not empty and not of an earlier demo; valid: another')
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARK).touch()
    return out
