/* outrigger-demo-load: sends requests at a steady rate, whether or not earlier ones have been answered, and says what
 * came back. An answer that is late makes no later request later, so slowness shows in full.
 *
 * One thread, one loop. Ends when the time is over and all is answered, or at SIGINT or SIGTERM. */
#include "deploy/demo/report.h"
#include "deploy/demo/target.h"
#include "sidecar/base/clock.h"
#include "sidecar/base/die.h"
#include "sidecar/net/signal.h"
#include "sidecar/net/timer.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Open requests; more than this many, and the next are counted as EMFILE without being sent. */
#define OPEN_MAX 10000

struct load {
    const char *url;
    double rps;
    uint64_t seconds, interval_s, timeout_ms;
    struct loop *loop;
    struct dns *dns;
    struct target target;
    struct arena *arena;
    struct headers headers;
    struct report report;
    struct timer tick, interval;
    uint64_t started_ns;
    uint64_t sent, total; /* total 0: no end */
    unsigned open;
    bool is_over;
};

struct shot {
    struct load *load;
    uint64_t sent_ns;
};

static void print(struct load *l)
{
    struct buf out = {0};
    report_print(&l->report, &out);
    fwrite(buf_head(&out), 1, buf_len(&out), stdout);
    fflush(stdout);
    buf_fini(&out);
}

static void stop_if_done(struct load *l)
{
    if (l->is_over && l->open == 0)
        loop_stop(l->loop);
}

static void on_answer(void *ctx, const struct fetch_answer *answer)
{
    struct shot *shot = ctx;
    struct load *l = shot->load;
    report_add(&l->report, answer->error, answer->status, answer->body, (clock_mono_ns() - shot->sent_ns) / 1000);
    free(shot);
    assert(l->open > 0);
    l->open--;
    stop_if_done(l);
}

static void shoot(struct load *l)
{
    l->sent++;
    l->report.sent++;
    if (l->open >= OPEN_MAX) {
        report_add(&l->report, EMFILE, 0, STR_NONE, 0);
        return;
    }
    struct shot *shot = NEW(struct shot);
    *shot = (struct shot){l, clock_mono_ns()};
    l->open++;
    target_get(&l->target, l->loop, l->dns, &l->headers, l->timeout_ms, on_answer, shot);
}

static void on_tick(struct timer *t)
{
    struct load *l = CONTAINER_OF(t, struct load, tick);
    double elapsed_s = (double)(clock_mono_ns() - l->started_ns) / 1e9;
    uint64_t due = (uint64_t)(elapsed_s * l->rps) + 1;
    if (l->total > 0 && due >= l->total) {
        due = l->total;
        l->is_over = true;
    }
    while (l->sent < due)
        shoot(l);
    if (!l->is_over)
        timer_arm(&l->tick, 1);
    stop_if_done(l);
}

static void on_interval(struct timer *t)
{
    struct load *l = CONTAINER_OF(t, struct load, interval);
    print(l);
    report_clear(&l->report);
    timer_arm(&l->interval, l->interval_s * 1000);
}

static void on_signal(void *ctx, int signum)
{
    (void)signum;
    loop_stop(((struct load *)ctx)->loop);
}

static const char usage[] =
    "usage: outrigger-demo-load --url URL [flags]\n"
    "  --rps N           requests a second, whatever comes back (10)\n"
    "  --seconds N       for so long (10); 0: until it is told to stop\n"
    "  --timeout-ms N    an answer later than that is ETIMEDOUT (10000)\n"
    "  -H 'NAME: VALUE'  a header; may be given many times\n"
    "  --count TEXT      says under \"hits\" how many answers had it in their body; may be given many times\n"
    "  --interval N      a line every N seconds, for these seconds alone\n"
    "Prints {\"sent\": N, \"codes\": {STATUS: N}, \"p50_ms\": N, \"p99_ms\": N}.\n";

static bool take_header(struct load *l, struct str text, struct err *err)
{
    ptrdiff_t colon = str_index(text, ':', 0);
    if (colon <= 0)
        return err_set(err, "-H: must be 'NAME: VALUE', got \"%.*s\"", STR_FMT(text));
    headers_add_copy(&l->headers, str_sub(text, 0, (size_t)colon),
                     str_trim(str_sub(text, (size_t)colon + 1, text.n)));
    return true;
}

static bool take_u64(const char *flag, const char *text, uint64_t min, uint64_t max, uint64_t *value_r,
                     struct err *err)
{
    if (str_to_u64(str_of(text), value_r) && *value_r >= min && *value_r <= max)
        return true;
    return err_set(err, "%s: must be a number from %llu to %llu, got \"%s\"", flag, (unsigned long long)min,
                   (unsigned long long)max, text);
}

static bool take_rate(struct load *l, const char *text, struct err *err)
{
    char *end;
    l->rps = strtod(text, &end);
    if (end == text || *end != '\0' || !(l->rps > 0 && l->rps <= 100000))
        return err_set(err, "--rps: must be a number above 0, at most 100000, got \"%s\"", text);
    return true;
}

static bool take_flag(struct load *l, int flag, const char *value, struct err *err)
{
    switch (flag) {
    case 'u':
        l->url = value;
        return target_init(&l->target, value, err) || err_prefix(err, "--url");
    case 'r':
        return take_rate(l, value, err);
    case 's':
        return take_u64("--seconds", value, 0, 86400, &l->seconds, err);
    case 't':
        return take_u64("--timeout-ms", value, 1, 600000, &l->timeout_ms, err);
    case 'i':
        return take_u64("--interval", value, 1, 3600, &l->interval_s, err);
    case 'H':
        return take_header(l, str_of(value), err);
    case 'c':
        if (l->report.text_count == REPORT_TEXTS_MAX)
            return err_set(err, "--count: at most %d of them", REPORT_TEXTS_MAX);
        l->report.texts[l->report.text_count++] = value;
        return true;
    default:
        return err_set(err, "%s", usage);
    }
}

static bool parse(struct load *l, int argc, char **argv, struct err *err)
{
    static const struct option flags[] = {
        {"url", 1, NULL, 'u'},      {"rps", 1, NULL, 'r'},   {"seconds", 1, NULL, 's'}, {"timeout-ms", 1, NULL, 't'},
        {"interval", 1, NULL, 'i'}, {"count", 1, NULL, 'c'}, {NULL, 0, NULL, 0},
    };
    int flag;
    while ((flag = getopt_long(argc, argv, "H:", flags, NULL)) != -1)
        if (!take_flag(l, flag, optarg, err))
            return false;
    if (optind < argc || !l->url)
        return err_set(err, "%s", usage);
    return true;
}

static void run(struct load *l)
{
    l->loop = loop_new();
    l->dns = dns_new(l->loop);
    struct signal_watch *term = signal_start(l->loop, SIGTERM, on_signal, l);
    struct signal_watch *interrupt = signal_start(l->loop, SIGINT, on_signal, l);
    timer_init(&l->tick, l->loop, on_tick);
    timer_init(&l->interval, l->loop, on_interval);
    l->started_ns = clock_mono_ns();
    timer_arm(&l->tick, 0);
    if (l->interval_s > 0)
        timer_arm(&l->interval, l->interval_s * 1000);
    loop_run(l->loop);
    signal_stop(&term);
    signal_stop(&interrupt);
    timer_disarm(&l->tick);
    timer_disarm(&l->interval);
}

int main(int argc, char **argv)
{
    struct load l = {.rps = 10, .seconds = 10, .timeout_ms = 10000, .arena = arena_new(1024)};
    struct err err = {0};
    headers_init(&l.headers, l.arena);
    if (!parse(&l, argc, argv, &err)) {
        fprintf(stderr, "outrigger-demo-load: %s\n", err.text);
        return 2;
    }
    l.total = (uint64_t)((double)l.seconds * l.rps);
    if (l.total == 0 && l.seconds > 0)
        l.total = 1;
    run(&l);
    print(&l);
    dns_free(&l.dns);
    loop_free(&l.loop);
    target_fini(&l.target);
    report_fini(&l.report);
    arena_free(&l.arena);
    return 0;
}
