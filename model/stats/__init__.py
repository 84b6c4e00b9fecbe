"""The statistics that the paper used, as plain functions over arrays, in the conventions of R (rms, glmnet, pROC)."""
