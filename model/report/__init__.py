"""Tables and figures of what `model` computes. Needs the extra `report`; nothing here computes a statistic."""
