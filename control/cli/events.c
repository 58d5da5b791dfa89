/* `outrigger events`: what breakers and outlier detection did, a line an event. */
#include "control/cli/client.h"

#include "sidecar/base/die.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WAIT_S 8 /* less than the client waits for an answer */
#define AWAY_S 1

static const char *text_of(const json_t *event, const char *name)
{
    const char *text = json_string_value(json_object_get(event, name));
    return text ? text : "";
}

static json_int_t number_of(const json_t *event, const char *name)
{
    return json_integer_value(json_object_get(event, name));
}

/* "03:12:44Z" of a whole time. */
static void print_clock(const char *before, const char *time)
{
    if (strlen(time) >= 19)
        printf("%s%.8sZ", before, time + 11);
}

static void print_host(const json_t *event)
{
    const char *pod = text_of(event, "pod");
    if (pod[0])
        printf("%s (%s) of %s", pod, text_of(event, "host"), text_of(event, "cluster"));
    else
        printf("%s of %s", text_of(event, "host"), text_of(event, "cluster"));
}

static void print_ejected(const json_t *event)
{
    print_host(event);
    printf(": %s", text_of(event, "reason"));
    print_clock(", until ", text_of(event, "until"));
    if (number_of(event, "count") > 1)
        printf(", the host's ejection number %lld", (long long)number_of(event, "count"));
}

static void print_began(const json_t *event)
{
    printf("%s of %s is reached, %lld refused so far", text_of(event, "reason"), text_of(event, "cluster"),
           (long long)number_of(event, "count"));
}

static void print_ended(const json_t *event)
{
    printf("%s of %s, %lld refused in all", text_of(event, "reason"), text_of(event, "cluster"), (long long)number_of(event, "count"));
}

static void print_refused(const json_t *event)
{
    json_int_t status = number_of(event, "status");
    const char *cluster = text_of(event, "cluster"), *flags = text_of(event, "flags");
    printf("%lld x ", (long long)number_of(event, "count"));
    if (status > 0)
        printf("%lld", (long long)status);
    else
        fputs("TCP", stdout);
    printf(" %s %s", flags[0] ? flags : "-", text_of(event, "reason"));
    if (cluster[0])
        printf(" for %s", cluster);
}

static void print_other(const json_t *event)
{
    if (number_of(event, "count") > 1)
        printf("%lld: ", (long long)number_of(event, "count"));
    fputs(text_of(event, "reason"), stdout);
}

static void print_event(const json_t *event)
{
    static const struct {
        const char *kind;
        void (*print)(const json_t *event);
    } forms[] = {
        {"ejected", print_ejected},      {"returned", print_host},   {"overflow-began", print_began},
        {"overflow-ended", print_ended}, {"refused", print_refused},
    };
    const char *kind = text_of(event, "kind");
    void (*print)(const json_t *) = print_other;
    for (size_t i = 0; i < ARRAY_LEN(forms); i++)
        if (strcmp(forms[i].kind, kind) == 0)
            print = forms[i].print;
    print_clock("", text_of(event, "time"));
    printf("  %-30s  %-14s  ", text_of(event, "proxy"), kind);
    print(event);
    puts("");
}

/* Numbers follow each other: a gap is what the control plane had to forget. */
static void print_gap(const struct cli *cli, json_int_t last, json_int_t seq)
{
    if (!cli->proxy && !cli->json && last > 0 && seq > last + 1 && seq - last < 1000000)
        printf("(%lld events were forgotten)\n", (long long)(seq - last - 1));
}

/* The number of the last. */
static json_int_t print_events(const struct cli *cli, const json_t *events, json_int_t last)
{
    size_t i;
    json_t *event;
    if (!cli->watch && cli->json) {
        json_dumpf(events, stdout, JSON_INDENT(1));
        puts("");
        return last;
    }
    json_array_foreach(events, i, event) {
        json_int_t seq = number_of(event, "seq");
        print_gap(cli, last, seq);
        last = seq;
        if (cli->json) {
            json_dumpf(event, stdout, JSON_COMPACT);
            puts("");
        } else {
            print_event(event);
        }
    }
    fflush(stdout);
    return last;
}

static void follow(const struct cli *cli, json_int_t last)
{
    while (!ferror(stdout)) {
        char *question = xasprintf("/api/v1/events?wait=%d&since=%lld", WAIT_S, (long long)last);
        char *path = cli_proxy_query(cli, question);
        json_t *events = client_get(cli, path);
        if (events)
            last = print_events(cli, events, last);
        else
            sleep(AWAY_S);
        json_decref(events);
        free(path);
        free(question);
    }
}

int cli_events(const struct cli *cli)
{
    if (cli->word_count > 0)
        return cli_usage("events takes no arguments; --proxy names a pod");
    char *path = cli_proxy_query(cli, "/api/v1/events");
    json_t *events = client_get(cli, path);
    free(path);
    if (!events)
        return CLI_FAILED;
    if (!cli->json && !cli->watch && json_array_size(events) == 0)
        puts("nothing happened");
    json_int_t last = print_events(cli, events, 0);
    json_decref(events);
    if (cli->watch)
        follow(cli, last);
    return CLI_OK;
}
