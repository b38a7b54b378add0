"""What else collapses when it is trained on its own output: learners small enough to be known in closed form or seen at once.

    loop         draw, mix, fit, measure, commit: arm by arm, generation by generation, in this process
    protocol     what a learner is asked for
    gaussian, mixture, vae, ngram, regression, classifier
                 the learners; `moments` and `digits` belong to the first and the third

The recipe's words mean what they mean for language models: alpha, pool, human, control, sweep, seed. Imports neither ray
nor vllm; torch only for the VAE.
"""
