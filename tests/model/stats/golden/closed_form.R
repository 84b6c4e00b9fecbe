# Golden numbers for tests/model/stats/test_closed_form.py: R 4.2.2, rms 6.5-0, pROC 1.18.0.
# Run in this folder: Rscript closed_form.R  (reads data.csv, writes closed_form.json)
suppressPackageStartupMessages({ library(rms); library(pROC) })
d <- read.csv("data.csv")
y <- d$osteoporosis
x <- as.matrix(d[, c("age_years", "bmi_kg_m2", "mg_mmol_l", "p_mmol_l", "ctx_ng_ml", "p1np_ng_ml")])
out <- list()

# JSON by hand, at 17 digits: no package for it is assumed.
num <- function(v) ifelse(is.infinite(v), ifelse(v > 0, '"inf"', '"-inf"'), formatC(v, digits = 17, format = "g"))
json <- function(v) {
  if (is.list(v)) return(paste0("{", paste0('"', names(v), '": ', vapply(v, json, ""), collapse = ", "), "}"))
  if (length(v) == 1) return(num(v))
  paste0("[", paste(num(v), collapse = ", "), "]")
}

t_of <- function(h) list(t = unname(h$statistic), df = unname(h$parameter), p_value = h$p.value,
                         low = h$conf.int[1], high = h$conf.int[2])
a <- d$mg_mmol_l[y == 1]; b <- d$mg_mmol_l[y == 0]
out$t_pooled <- t_of(t.test(a, b, var.equal = TRUE))
out$t_welch <- t_of(t.test(a, b))
table22 <- table(factor(d$mg_mmol_l <= 0.845, c(TRUE, FALSE)), factor(y, c(1, 0)))
chi <- function(correct) { h <- chisq.test(table22, correct = correct); list(statistic = unname(h$statistic), p_value = h$p.value) }
out$chi_square <- chi(FALSE)
out$chi_square_yates <- chi(TRUE)
low <- as.numeric(d$mg_mmol_l <= 0.845)
one <- summary(glm(y ~ low, family = binomial, control = list(epsilon = 1e-14)))$coefficients
out$odds_ratio <- list(value = exp(one[2, 1]), low = exp(one[2, 1] - qnorm(.975) * one[2, 2]),
                       high = exp(one[2, 1] + qnorm(.975) * one[2, 2]), p_value = one[2, 4])

f <- lrm(y ~ x, x = TRUE, y = TRUE, tol = 1e-14, eps = 1e-12, maxit = 50)
se <- sqrt(diag(vcov(f)))
p <- unname(plogis(predict(f)))
s2 <- somers2(p, y)
out$lrm <- list(coefficients = unname(coef(f)), standard_errors = unname(se), z = unname(coef(f) / se),
                p_value = unname(2 * pnorm(-abs(coef(f) / se))),
                c = unname(s2["C"]), dxy = unname(s2["Dxy"]), c_binned = unname(f$stats["C"]),
                r2_nagelkerke = unname(f$stats["R2"]), brier = mean((y - p)^2), log_likelihood = as.numeric(logLik(f)))
out$lrm$r2_cox_snell <- 1 - exp(-unname(f$stats["Model L.R."]) / length(y))
out$risk <- p

roc_of <- function(score, direction) roc(y, score, direction = direction, quiet = TRUE, levels = c(0, 1))
r_mg <- roc_of(d$mg_mmol_l, ">"); r_p <- roc_of(d$p_mmol_l, ">")
ci <- as.numeric(ci.auc(r_mg, method = "delong"))
out$roc_mg <- list(auc = as.numeric(auc(r_mg)), low = ci[1], high = ci[3], standard_error = sqrt(var(r_mg, method = "delong")),
                   thresholds = r_mg$thresholds, sensitivity = r_mg$sensitivities, specificity = r_mg$specificities)
best <- coords(r_mg, "best", best.method = "youden", transpose = FALSE)
out$youden_mg <- list(threshold = best$threshold, sensitivity = best$sensitivity, specificity = best$specificity)
paired <- roc.test(r_mg, r_p, method = "delong", paired = TRUE)
out$delong_paired <- list(z = unname(paired$statistic), p_value = paired$p.value)

# Two thresholds with the same index: pROC's "best" gives both.
ty <- c(0, 0, 1, 0, 1, 1); ts <- c(1, 2, 3, 4, 5, 6)
tie <- coords(roc(ty, ts, direction = "<", quiet = TRUE, levels = c(0, 1)), "best", best.method = "youden", transpose = FALSE)
out$youden_tied <- list(threshold = tie$threshold, sensitivity = tie$sensitivity, specificity = tie$specificity)

# Risks of somebody else's model: not those fitted here, so that calibration has something to find.
q <- plogis(0.8 * qlogis(p) + 0.4 + 0.5 * sin(seq_along(p)))
out$other_risk <- q
large <- summary(glm(y ~ offset(qlogis(q)), family = binomial, control = list(epsilon = 1e-14)))$coefficients
both <- summary(glm(y ~ qlogis(q), family = binomial, control = list(epsilon = 1e-14)))$coefficients
out$in_the_large <- list(value = large[1, 1], standard_error = large[1, 2])
out$calibration_intercept <- list(value = both[1, 1], standard_error = both[1, 2])
out$calibration_slope <- list(value = both[2, 1], standard_error = both[2, 2])
out$brier_other <- mean((y - q)^2)

# Hosmer-Lemeshow, written out: ten groups by type-7 quantiles, lowest included.
cuts <- unique(quantile(q, seq(0, 1, 0.1), type = 7))
g <- cut(q, cuts, include.lowest = TRUE)
n <- tapply(y, g, length); o <- tapply(y, g, sum); e <- tapply(q, g, sum)
statistic <- sum((o - e)^2 / (e * (1 - e / n)))
out$hosmer_lemeshow <- list(statistic = statistic, df = length(n) - 2, p_value = pchisq(statistic, length(n) - 2, lower.tail = FALSE),
                            women = unname(as.numeric(n)), observed = unname(as.numeric(o)), expected = unname(as.numeric(e)))

s <- lowess(q, y, iter = 0)
out$lowess <- list(x = s$x, y = s$y)

# Net benefit, written out (Vickers and Elkin 2006): treated at or above the threshold.
t <- seq(0.05, 0.95, 0.05)
benefit <- function(treated) vapply(seq_along(t), function(i) mean(treated(t[i]) & y == 1) - mean(treated(t[i]) & y == 0) * t[i] / (1 - t[i]), 0)
out$net_benefit <- list(thresholds = t, model = benefit(function(at) q >= at), everyone = benefit(function(at) rep(TRUE, length(q))))

writeLines(json(out), "closed_form.json")
