"""Published procedures as their papers' own code has them, with scipy: what ours is compared with."""

import numpy as np


def alternative_annotator_test_as_published(humans, judge, epsilon, numbers):
    """Calderon et al. (2025) by their own loops: {human: {item: value}} and {item: value}."""
    from scipy.stats import false_discovery_control, ttest_1samp

    def alignment(value, others):
        if numbers:
            return -np.sqrt(np.mean([(value - other) ** 2 for other in others]))
        return np.mean([value == other for other in others])

    p_values, advantages = [], []
    for left_out, labels in humans.items():
        ours, theirs = [], []
        for item, value in labels.items():
            others = [one[item] for name, one in humans.items() if name != left_out and item in one]
            if not others or item not in judge:
                continue
            score, human = alignment(judge[item], others), alignment(value, others)
            ours.append(score >= human - 1e-12)
            theirs.append(human >= score - 1e-12)
        if len(ours) >= 30:
            behind = np.array(theirs, float) - np.array(ours, float)
            p_values.append(ttest_1samp(behind, epsilon, alternative="less").pvalue)
            advantages.append(np.mean(ours))
    won = false_discovery_control(p_values, method="by") <= 0.05
    return won.mean(), np.mean(advantages), p_values
