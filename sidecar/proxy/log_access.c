/* Owns nothing. A log line is formatted whole, then handed to the log of its file. */
#include "sidecar/proxy/log_access.h"

#define KEPT_MAX 4096u /* a longer line does not leave its memory behind */

static bool lets_pass(const struct access_log_cfg *c, const struct stream_info *info)
{
    if (!c->flag_filter)
        return true;
    return c->flag_mask ? (info->flags & c->flag_mask) != 0 : info->flags != 0;
}

void log_access(const struct access_log_cfg *logs, unsigned count, const struct stream_info *info,
                stream_info_header_fn *headers, void *ctx, unsigned row, struct buf *line)
{
    for (unsigned i = 0; i < count; i++) {
        if (!lets_pass(&logs[i], info))
            continue;
        if (logs[i].json)
            format_json_run(logs[i].json, info, headers, ctx, line);
        else
            format_run(logs[i].text, info, headers, ctx, line);
        access_log_line(logs[i].log, row, buf_str(line));
        if (buf_len(line) > KEPT_MAX)
            buf_fini(line);
        buf_clear(line);
    }
}
