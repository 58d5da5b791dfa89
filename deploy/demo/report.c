/* Exact: every latency is kept, four bytes each, until the report is cleared. */
#include "deploy/demo/report.h"

#include "sidecar/base/die.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void report_fini(struct report *r)
{
    free(r->latencies_us);
    memset(r, 0, sizeof(*r));
}

void report_clear(struct report *r)
{
    r->sent = 0;
    memset(r->codes, 0, sizeof(r->codes));
    r->failure_count = 0;
    r->latency_count = 0;
    memset(r->text_hits, 0, sizeof(r->text_hits));
}

static void add_failure(struct report *r, int error)
{
    unsigned at = 0;
    while (at < r->failure_count && r->failures[at].error != error)
        at++;
    if (at == REPORT_FAILURES_MAX) {
        at--; /* more kinds than anybody will look at: the last one takes the rest */
    } else if (at == r->failure_count) {
        r->failures[at] = (struct report_failure){.error = error};
        r->failure_count++;
    }
    r->failures[at].count++;
}

void report_add(struct report *r, int error, unsigned status, struct str body, uint64_t latency_us)
{
    if (error != 0)
        add_failure(r, error);
    else
        r->codes[status < ARRAY_LEN(r->codes) ? status : 0]++;
    for (unsigned i = 0; i < r->text_count; i++)
        r->text_hits[i] += error == 0 && str_find(body, str_of(r->texts[i])) >= 0;
    if (r->latency_count == r->latency_cap) {
        r->latency_cap = r->latency_cap ? r->latency_cap * 2 : 1024;
        r->latencies_us = xrealloc(r->latencies_us, r->latency_cap * sizeof(*r->latencies_us));
    }
    r->latencies_us[r->latency_count++] = latency_us > UINT32_MAX ? UINT32_MAX : (uint32_t)latency_us;
}

static int by_value(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* The smallest latency that this share of the answers did not exceed. */
static double percentile_ms(const struct report *r, double share)
{
    if (r->latency_count == 0)
        return 0;
    size_t rank = (size_t)ceil(share * (double)r->latency_count);
    return r->latencies_us[rank > 0 ? rank - 1 : 0] / 1000.0;
}

static json_t *codes(const struct report *r)
{
    json_t *codes = json_object();
    char name[16];
    for (unsigned status = 0; status < ARRAY_LEN(r->codes); status++) {
        snprintf(name, sizeof(name), "%u", status);
        if (r->codes[status] > 0)
            json_object_set_new(codes, name, json_integer((json_int_t)r->codes[status]));
    }
    for (unsigned i = 0; i < r->failure_count; i++) {
        const char *failure = strerrorname_np(r->failures[i].error);
        json_object_set_new(codes, failure ? failure : "failed", json_integer((json_int_t)r->failures[i].count));
    }
    return codes;
}

void report_print(struct report *r, struct buf *out)
{
    qsort(r->latencies_us, r->latency_count, sizeof(*r->latencies_us), by_value);
    json_t *line = json_pack("{s:I, s:o, s:f, s:f}", "sent", (json_int_t)r->sent, "codes", codes(r), "p50_ms",
                             percentile_ms(r, 0.50), "p99_ms", percentile_ms(r, 0.99));
    if (r->text_count > 0) {
        json_t *hits = json_object();
        for (unsigned i = 0; i < r->text_count; i++)
            json_object_set_new(hits, r->texts[i], json_integer((json_int_t)r->text_hits[i]));
        json_object_set_new(line, "hits", hits);
    }
    char *text = json_dumps(line, JSON_REAL_PRECISION(6));
    if (!text)
        die("a report cannot be printed");
    buf_printf(out, "%s\n", text);
    free(text);
    json_decref(line);
}
