"""Demonstrations of a family's tasks by its scripted expert, in process."""

from __future__ import annotations

from collections.abc import Callable

from imitation_ros.frames.contract import Contract
from imitation_ros.learning.meta.training import Task
from imitation_ros.sim.env import ArmEnv
from imitation_ros.sim.families import FamilyTask
from imitation_ros.sim.family_expert import FamilyExpert
from imitation_ros.sim.rollout import roll_out
from imitation_ros.types import Action, Array, Episode, Frame
import numpy as np

PUSH = 0.12
"""Deviation (m/s) of the velocity by which the tool is pushed off its way."""
PUSHED_TICKS = 6
"""For which a push goes on."""
SLIP = 0.08
"""Share of the pushes during which the gripper is opened."""


def demonstrate(env: ArmEnv, task: FamilyTask, scene: int) -> Episode:
    """What the expert does in a scene."""
    env.simulator.ask(task)
    return roll_out(env, FamilyExpert(task, env.contract), scene).to_episode()


def correct(env: ArmEnv, task: FamilyTask, scene: int) -> Episode:
    """The same while the tool is pushed about; each frame has what the expert wants there.

    DART (Laskey et al. 2017) with pushes that last, so that what follows is seen from farther off.
    """
    env.simulator.ask(task)
    expert = FamilyExpert(task, env.contract)
    rng = np.random.default_rng((scene, 1))
    labels: list[Action] = []
    push, slip = np.zeros(3), False

    def act(frame: Frame) -> Action:
        nonlocal push, slip
        if len(labels) % PUSHED_TICKS == 0:
            push = rng.normal(0.0, PUSH, 3) * (rng.uniform() < 0.5)
            slip = rng.uniform() < SLIP
        labels.append(expert(frame))
        return _pushed(labels[-1], env.contract, push, slip)

    episode = roll_out(env, act, scene).to_episode()
    wanted = {part: np.array([label[part] for label in labels]) for part in labels[0]}
    return Episode(episode.tick_ns, episode.observations, wanted, episode.segment, episode.outcome)


def make_tasks(
    env: ArmEnv,
    tasks: list[FamilyTask],
    first_scene: int,
    demonstrations: int = 3,
    corrections: int = 2,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Task]:
    """Episodes of tasks, each in scenes of its own."""
    made = []
    for index, task in enumerate(tasks):
        scene = first_scene + index * (demonstrations + corrections)
        shown = range(scene, scene + demonstrations)
        corrected = range(shown.stop, shown.stop + corrections)
        made.append(
            Task(
                [demonstrate(env, task, each) for each in shown],
                [correct(env, task, each) for each in corrected],
            )
        )
        progress(index + 1)
    return made


def _pushed(action: Action, contract: Contract, push: Array, slip: bool) -> Action:
    pushed = {}
    for name, part in contract.actions.items():
        if part.discrete:
            pushed[name] = np.array([part.classes.index('open')]) if slip else action[name]
        else:
            pushed[name] = np.clip(action[name] + push, part.low, part.high)
    return pushed
