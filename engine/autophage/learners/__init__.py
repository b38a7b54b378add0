"""Small learners that are trained on their own output, known in closed form or visible at a glance.

    loop         draw, mix, fit, measure, commit: arm by arm, generation by generation, in this process
    protocol     the interface of a learner
    gaussian, mixture, vae, ngram, regression, classifier
                 the learners; `moments` and `digits` belong to the first and the third

The recipe's words mean what they mean for language models: alpha, pool, human, control, sweep, seed. This package
imports neither ray nor vllm, and torch only for the VAE.
"""
