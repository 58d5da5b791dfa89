/* Owns nothing. A log line is formatted whole, then handed to the log of its file. */
#include "sidecar/proxy/log_access.h"

#define KEPT_MAX 4096u /* a longer line does not leave its memory behind */

void log_access(const struct access_log_cfg *logs, unsigned count, const struct log_filter_input *in,
                stream_info_header_fn *headers, void *ctx, unsigned row, struct buf *line)
{
    const struct stream_info *info = in->info;
    for (unsigned i = 0; i < count; i++) {
        if (logs[i].filter && !log_filter_lets_pass(logs[i].filter, in))
            continue;
        if (logs[i].format.json)
            format_json_run(logs[i].format.json, info, headers, ctx, line);
        else
            format_run(logs[i].format.text, info, headers, ctx, line);
        access_log_line(logs[i].log, row, buf_str(line));
        if (buf_len(line) > KEPT_MAX)
            buf_fini(line);
        buf_clear(line);
    }
}
