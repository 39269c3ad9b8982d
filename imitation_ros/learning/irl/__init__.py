"""Inverse reinforcement learning: a reward from demonstrations, and a policy that it makes better.

Start with `RewardTrainer` (`trainer.py`): expert and actor transitions in, a `Reward`
(`reward.py`) out. `adversarial.py` alternates it with an actor of stable-baselines3 in simulation.

    layout        a contract's frames and actions as flat vectors
    transitions   episodes as state, action, next state, with absorbing states at their ends
    network       the reward network, with or without potential shaping
    objectives    what it is trained to do: GAIL, AIRL, margin; gradient penalty
    trainer       the reward against the actor's roll-outs; its health; its state on disk
    reward        a trained reward: calibrated, scored live, saved
    ranking       the reward of whole trajectories, by ranking them
    watching      demonstrations without actions: the inverse dynamics model of BCO
    apprenticeship  linear feature matching
    replay, actor, adversarial, export   the actor of stable-baselines3, and the alternation

A live use, such as a node's, needs these alone:

    trainer = RewardTrainer(transitions(demonstrations, contract), contract, config, seed)
    trainer.add(transitions(rollouts, contract))    # raises RewardError for what cannot be used
    health = trainer.train(updates=100)             # expert, actor, separation, accuracy, auc
    trainer.reward().save(folder)                   # the last good one, calibrated
    trainer.save(state_file); trainer.load(state_file)
    reward = load_reward(folder, contract)
    reward.score_frame(observation, action, next_observation)   # 0 is random, 1 is the expert
"""
