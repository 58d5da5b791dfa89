/* /stats in its forms, and /server_info. Main thread. */
#include "sidecar/admin/admin_priv.h"

#include "sidecar/base/clock.h"
#include "sidecar/match/regex.h"
#include "sidecar/observe/stats.h"

#include "proto/codec.h"

static bool matches(void *ctx, struct str name)
{
    return regex_match_partial(ctx, name) == REGEX_YES;
}

static void write_stats(struct admin_request *rq, enum stats_format format)
{
    bool bad;
    struct regex *regex = admin_query_regex(rq, "filter", "Invalid re2 regex: ", &bad);
    if (bad)
        return;
    rq->admin->ops.collect(rq->admin->ctx);
    stats_write(rq->admin->ops.stats, format, admin_query(rq, "usedonly").p != NULL,
                regex ? matches : NULL, regex, &rq->out);
    regex_free(&regex);
}

void admin_stats(struct admin_request *rq)
{
    struct str format = admin_query(rq, "format");
    if (str_eq(format, STR("prometheus"))) {
        admin_stats_prometheus(rq);
    } else if (str_eq(format, STR("json"))) {
        rq->content_type = ADMIN_JSON_TYPE;
        rq->compact = true;
        write_stats(rq, STATS_JSON);
    } else if (format.n == 0 || str_eq(format, STR("text"))) {
        write_stats(rq, STATS_TEXT);
    } else {
        admin_refuse(rq, 400, "usage: /stats?format=(json|prometheus|text)\n\n");
    }
}

void admin_stats_prometheus(struct admin_request *rq)
{
    rq->content_type = "text/plain; version=0.0.4; charset=utf-8";
    write_stats(rq, STATS_PROMETHEUS);
}

void admin_server_info(struct admin_request *rq)
{
    static const char *const states[] = {"LIVE", "DRAINING", "PRE_INITIALIZING", "INITIALIZING"};
    const struct admin_ops *ops = &rq->admin->ops;
    rq->content_type = ADMIN_JSON_TYPE;
    buf_printf(&rq->out,
               "{\n \"version\": \"outrigger/" OUTRIGGER_VERSION "\",\n \"state\": \"%s\",\n"
               " \"uptime_current_epoch\": \"%llus\",\n \"uptime_all_epochs\": \"%llus\",\n"
               " \"hot_restart_version\": \"disabled\",\n \"command_line_options\": {\n  "
               "\"concurrency\": %u\n },\n"
               " \"node\": ",
               states[ops->state(rq->admin->ctx)],
               (unsigned long long)((clock_wall_us() - ops->start_wall_us) / 1000000),
               (unsigned long long)((clock_wall_us() - ops->start_wall_us) / 1000000),
               ops->concurrency);
    codec_to_json_proto_names(ops->node, 0, &rq->out);
    buf_append_c(&rq->out, "\n}\n");
}
