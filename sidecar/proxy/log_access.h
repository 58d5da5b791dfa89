/* Writes the access log lines of an ended request, TCP connection or refused connection. */
#ifndef OUTRIGGER_PROXY_LOG_ACCESS_H
#define OUTRIGGER_PROXY_LOG_ACCESS_H

#include "sidecar/filter/listener_cfg.h"

/* One line for each log whose filter lets it pass. headers may be NULL (TCP): header operators
 * print "-". row: the worker's. line: the worker's too, empty, where lines are put together. */
void log_access(const struct access_log_cfg *logs, unsigned count, const struct log_filter_input *in,
                stream_info_header_fn *headers, void *ctx, unsigned row, struct buf *line);

#endif
