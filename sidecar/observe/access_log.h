/* Where access log lines go: a file, appended in whole lines, reopened on demand. */
#ifndef OUTRIGGER_OBSERVE_ACCESS_LOG_H
#define OUTRIGGER_OBSERVE_ACCESS_LOG_H

#include "sidecar/base/buf.h"

/* One per path in the process; "/dev/stdout" and "/dev/stderr" are fine. Lines are buffered per call site and written
 * whole with one write(2) when full, and every 100 ms by access_log_flush_all, which each worker calls. */
struct access_log;
struct access_log *access_log_ref(const char *path, int *error_r); /* NULL with -errno */
void access_log_unref(struct access_log **l);
/* row: the caller's worker row, as in stats. */
void access_log_line(struct access_log *l, unsigned row, struct str line);
void access_log_flush_all(unsigned row);
void access_log_reopen_all(void);

#endif
