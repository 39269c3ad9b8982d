"""Meta-imitation: learn from many tasks how to learn the next one from one demonstration.

Start at `adaptation.py`: `adapt(parent, demonstrations)` gives an ordinary policy. `learner.py` is
what all ways to adapt have in common, and there are three: `context.py` reads the demonstration,
`gradient.py` takes gradient steps on it whose start and rates were learned, `finetune.py` trains
the usual multi-task clone on. `decoder.py` is the policy that they condition; `slots.py` says
which fields of a contract are positions of things of a kind. `correction.py` trains an adapted
policy on. `meta_training.py` learns from many tasks, `meta_policy.py` is what comes of it, in
memory and on disk.
"""
