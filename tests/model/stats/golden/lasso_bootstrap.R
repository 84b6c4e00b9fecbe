# Golden numbers of glmnet (lasso path, cross-validation) and rms (bootstrap validation, calibration) for 300 drawn women.
# Run in this folder: Rscript lasso_bootstrap.R. Writes lasso_bootstrap.json, with the women in it. Made with R 4.2.2, glmnet 4.1-6, rms 6.5-0.
suppressMessages({
  library(glmnet)
  library(rms)
})

json <- function(v) {
  if (is.list(v)) {
    return(paste0("{", paste0('"', names(v), '": ', sapply(v, json), collapse = ",\n"), "}"))
  }
  if (is.matrix(v)) {
    return(paste0("[", paste(apply(v, 1, json), collapse = ",\n"), "]"))
  }
  if (is.character(v)) {
    return(paste0("[", paste0('"', v, '"', collapse = ", "), "]"))
  }
  numbers <- ifelse(is.na(v), "null", sprintf("%.15g", v))
  if (length(v) == 1) numbers else paste0("[", paste(numbers, collapse = ", "), "]")
}

# Women near the paper's means and SDs, rounded as a laboratory reports.
set.seed(1)
women <- 300
case <- rbinom(women, 1, 0.58)
shared <- rnorm(women) # both bone markers follow it
d <- data.frame(
  age_years = pmax(50, round(66 + 4 * case + rnorm(women, sd = 9))),
  bmi_kg_m2 = round(24.5 - 1.3 * case + rnorm(women, sd = 3.4), 1),
  mg_mmol_l = round(0.87 - 0.022 * case + rnorm(women, sd = 0.065), 2),
  p_mmol_l = round(1.16 - 0.025 * case + rnorm(women, sd = 0.16), 2),
  ctx_ng_ml = round(exp(-0.9 + 0.1 * case + 0.4 * shared + rnorm(women, sd = 0.3)), 3),
  p1np_ng_ml = round(exp(3.85 + 0.05 * case + 0.3 * shared + rnorm(women, sd = 0.35)), 2),
  ocn_ng_ml = round(exp(2.8 + 0.05 * case + rnorm(women, sd = 0.4)), 2),
  osteoporosis = case
)
six <- c("age_years", "bmi_kg_m2", "mg_mmol_l", "p_mmol_l", "ctx_ng_ml", "p1np_ng_ml")
seven <- c(six, "ocn_ng_ml")
y <- d$osteoporosis
x <- as.matrix(d[, seven])
n <- nrow(x)

path_of <- function(f) {
  list(
    lambdas = f$lambda, intercepts = as.vector(f$a0), coefficients = unname(t(as.matrix(f$beta))),
    deviance_ratio = f$dev.ratio, df = f$df
  )
}
cv_of <- function(cv) {
  list(
    lambdas = cv$lambda, mean_deviance = cv$cvm, standard_error = cv$cvsd, lambda_min = cv$lambda.min,
    lambda_1se = cv$lambda.1se, index_min = cv$index[1], index_1se = cv$index[2]
  )
}

# The lasso: as shipped, and at fixed penalties with glmnet's own convergence tightened.
set.seed(20260101)
folds <- sample(rep(1:10, length.out = n))
fixed <- c(0.1, 0.05, 0.02, 0.01, 0.003, 0.0005)
exact <- glmnet(x, y, family = "binomial", lambda = fixed, thresh = 1e-14)
own <- exp(seq(log(0.15), log(0.0005), length.out = 30))

# A column that varies in fold 1 only.
rare <- as.numeric(seq_len(n) %in% which(folds == 1)[1:5])

# Fewer rows than columns: every column, square and product, in 15 women of each group, which also separates them.
few <- sort(c(which(y == 0)[1:15], which(y == 1)[1:15]))
wide <- cbind(x, do.call(cbind, lapply(1:7, function(i) x[, i] * x[, i:7])))[few, ]
separated <- suppressWarnings(glmnet(wide, y[few], family = "binomial"))

lasso <- list(
  folds = folds,
  path = path_of(glmnet(x, y, family = "binomial")),
  fixed = path_of(exact),
  cv = cv_of(cv.glmnet(x, y, family = "binomial", type.measure = "deviance", foldid = folds)),
  cv_given = cv_of(cv.glmnet(x, y, family = "binomial", type.measure = "deviance", foldid = folds, lambda = own)),
  cv_rare = cv_of(cv.glmnet(cbind(x, rare), y, family = "binomial", type.measure = "deviance", foldid = folds)),
  wide_rows = few,
  wide = list(lambdas = separated$lambda, deviance_ratio = separated$dev.ratio)
)

# The bootstrap: 25 resamples whose rows are written down (the generator is used for nothing else), and 2,000.
model <- lrm(osteoporosis ~ age_years + bmi_kg_m2 + mg_mmol_l + p_mmol_l + ctx_ng_ml + p1np_ng_ml,
  data = d, x = TRUE, y = TRUE, eps = 1e-10
)
quietly <- function(e) {
  sink(nullfile())
  on.exit(sink())
  force(e)
}
rows <- function(v) list(index = rownames(v), values = unname(unclass(v)[, ]))
curve <- function(v) {
  list(
    grid = v[, "predy"], apparent = v[, "calibrated.orig"], corrected = v[, "calibrated.corrected"],
    n = v[, "n"]
  )
}
error <- function(v) {
  predicted <- attr(v, "predicted")
  s <- !is.na(v[, "predy"] + v[, "calibrated.corrected"])
  # As plot.calibrate prints it: predictions outside the grid do not count.
  mean(abs(predicted - approx(v[s, "predy"], v[s, "calibrated.corrected"], xout = predicted, ties = mean)$y), na.rm = TRUE)
}
set.seed(7)
drawn <- t(sapply(1:25, function(i) sample(n, replace = TRUE)))
set.seed(7)
few_validated <- quietly(validate(model, B = 25))
set.seed(7)
few_calibrated <- quietly(calibrate(model, B = 25))
set.seed(2026)
validated <- quietly(validate(model, B = 2000))
set.seed(2026)
calibrated <- quietly(calibrate(model, B = 2000))

bootstrap <- list(
  coefficients = as.vector(coef(model)),
  drawn = drawn,
  validate_drawn = rows(few_validated),
  calibrate_drawn = c(curve(few_calibrated), mean_absolute_error = error(few_calibrated)),
  validate = rows(validated),
  calibrate = c(curve(calibrated), mean_absolute_error = error(calibrated))
)
versions <- c(
  R = as.character(getRversion()), glmnet = as.character(packageVersion("glmnet")),
  rms = as.character(packageVersion("rms"))
)
cat(json(list(made_with = paste(names(versions), versions), columns = names(d), rows = unname(as.matrix(d)), lasso = lasso, bootstrap = bootstrap)), "\n",
  file = "lasso_bootstrap.json"
)
