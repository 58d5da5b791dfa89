/* What is wrong with a piece of configuration, filled at the place that failed. */
#ifndef OUTRIGGER_BASE_ERR_H
#define OUTRIGGER_BASE_ERR_H

#include <stdbool.h>

struct err {
    bool set;
    char text[640]; /* "OBJECT: PATH: what, got VALUE; way out" */
};

/* Fills e, unless it is set already: the first fault wins. Returns false, so that a builder can
 * `return err_set(e, ...)`. */
bool err_set(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Puts "prefix: " in front of the text, as the fault travels up to who knows the path. Returns false. */
bool err_prefix(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
