/* Where access log lines go: a file, appended in whole lines, reopened on demand. */
#ifndef OUTRIGGER_OBSERVE_ACCESS_LOG_H
#define OUTRIGGER_OBSERVE_ACCESS_LOG_H

#include "sidecar/base/buf.h"

/* Rows that may write, as in stats: main's and the workers'. */
#define ACCESS_LOG_ROWS 512u

/* One per path in the process; "/dev/stdout" and "/dev/stderr" are fine. A row's lines are gathered and handed, whole, to
 * a thread of the log's own when 64 KiB are full and at each access_log_flush_all, which each worker calls every
 * 100 ms: whoever writes lines never waits for a disk or a pipe. */
struct access_log;
struct access_log *access_log_ref(const char *path, int *error_r); /* NULL with -errno */
/* Any thread, after the last line. What is gathered is still written. */
void access_log_unref(struct access_log **l);
/* row: the caller's worker row, as in stats. The line brings its own end. Where the file cannot be written as fast
 * as lines come, 8 MiB wait and the rest are dropped and counted in the program's log. */
void access_log_line(struct access_log *l, unsigned row, struct str line);
void access_log_flush_all(unsigned row);
/* After log rotation. */
void access_log_reopen_all(void);
/* Before the process ends: waits until all that was handed over is written, at most this long. False: it is not. */
bool access_log_drain(unsigned timeout_ms);

#endif
