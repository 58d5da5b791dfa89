/* Lines of the log of ejections. No state; main.
 *
 * Fields stand in the order of their numbers, those that are nought are written, as Envoy's printer
 * does: so a return has the type of number 0 and enforced false. */
#include "sidecar/upstream/outlier_log.h"

#include "sidecar/base/clock.h"
#include "sidecar/base/die.h"

#include <inttypes.h>

static void add_string(struct buf *out, struct str text)
{
    buf_append_byte(out, '"');
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if (c == '"' || c == '\\')
            buf_printf(out, "\\%c", c);
        else if (c < 0x20 || c == 0x7f || c == '<' || c == '>')
            buf_printf(out, "\\u%04x", c);
        else
            buf_append_byte(out, c);
    }
    buf_append_byte(out, '"');
}

/* Whole percents; below nought there are none. */
static uint32_t whole(double percent)
{
    return percent > 0 ? (uint32_t)percent : 0;
}

static void add_detail(struct buf *out, const struct eject_event *event,
                       const struct ejector_rates rates[OUTLIER_ORIGIN_COUNT])
{
    bool is_local = event->cause == OUTLIER_SUCCESS_RATE_LOCAL_ORIGIN ||
                    event->cause == OUTLIER_FAILURE_PERCENTAGE_LOCAL_ORIGIN;
    enum outlier_origin origin = is_local ? OUTLIER_LOCAL : OUTLIER_EXTERNAL;
    uint32_t rate = whole(event->host->success_rate[origin]);
    switch (event->cause) {
    case OUTLIER_SUCCESS_RATE:
    case OUTLIER_SUCCESS_RATE_LOCAL_ORIGIN:
        buf_printf(out,
                   ",\"eject_success_rate_event\":{\"host_success_rate\":%" PRIu32
                   ",\"cluster_average_success_rate\":%" PRIu32
                   ",\"cluster_success_rate_ejection_threshold\":%" PRIu32 "}",
                   rate, whole(rates[origin].average), whole(rates[origin].threshold));
        return;
    case OUTLIER_FAILURE_PERCENTAGE:
    case OUTLIER_FAILURE_PERCENTAGE_LOCAL_ORIGIN:
        buf_printf(out, ",\"eject_failure_percentage_event\":{\"host_success_rate\":%" PRIu32 "}",
                   rate);
        return;
    case OUTLIER_CONSECUTIVE_5XX:
    case OUTLIER_CONSECUTIVE_GATEWAY_FAILURE:
    case OUTLIER_CONSECUTIVE_LOCAL_ORIGIN_FAILURE:
        buf_append_c(out, ",\"eject_consecutive_event\":{}");
        return;
    case OUTLIER_CAUSE_COUNT:
        break;
    }
    die("no such cause of an ejection: %d", (int)event->cause);
}

void outlier_log_format(struct buf *out, const struct eject_event *event, struct str cluster,
                        struct str host, const struct ejector_rates rates[OUTLIER_ORIGIN_COUNT],
                        uint64_t wall_us)
{
    const struct outlier_host *h = event->host;
    bool is_return = event->action == EJECT_BACK;
    char time[32];
    if (!is_return && event->action != EJECT_OUT && event->action != EJECT_SPARED)
        return;
    buf_printf(out, "{\"type\":\"%s\",\"timestamp\":\"%s\"",
               outlier_cause_name(is_return ? OUTLIER_CONSECUTIVE_5XX : event->cause),
               clock_format_rfc3339(wall_us, time, sizeof(time)));
    /* The last action of the other kind. */
    if (is_return || h->was_unejected)
        buf_printf(out, ",\"secs_since_last_action\":\"%" PRIu64 "\"",
                   (event->now_ms - (is_return ? h->ejected_ms : h->unejected_ms)) / 1000);
    buf_append_c(out, ",\"cluster_name\":");
    add_string(out, cluster);
    buf_append_c(out, ",\"upstream_url\":");
    add_string(out, host);
    buf_printf(out, ",\"action\":\"%s\",\"num_ejections\":%" PRIu32 ",\"enforced\":%s",
               is_return ? "UNEJECT" : "EJECT", h->ejections,
               event->action == EJECT_OUT ? "true" : "false");
    if (!is_return)
        add_detail(out, event, rates);
    buf_append_c(out, "}\n");
}
