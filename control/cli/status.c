/* `outrigger status`: which sidecars have what they shall have. */
#include "control/cli/client.h"

#include "sidecar/base/die.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const types[] = {"CDS", "LDS", "EDS", "RDS"};

static const json_t *type_of(const json_t *proxy, const char *type)
{
    return json_object_get(json_object_get(proxy, "types"), type);
}

/* The version is that of the newest response; where another was accepted last, both. */
static void print_state(struct columns *t, const json_t *type)
{
    const char *state = json_string_value(json_object_get(type, "state"));
    json_int_t sent = json_integer_value(json_object_get(type, "sent")), acked = json_integer_value(json_object_get(type, "acked"));
    if (sent == 0)
        columns_cell(t, "%s", state);
    else if (sent == acked)
        columns_cell(t, "%s v%lld", state, (long long)sent);
    else
        columns_cell(t, "%s v%lld (has v%lld)", state, (long long)sent, (long long)acked);
}

static void print_table(const json_t *proxies)
{
    static const char *const heads[] = {"NAME", "CDS", "LDS", "EDS", "RDS", "AGENT", "CONNECTED"};
    struct columns *t = columns_new(heads, ARRAY_LEN(heads));
    size_t i;
    json_t *proxy;
    json_array_foreach(proxies, i, proxy) {
        columns_cell(t, "%s.%s", json_string_value(json_object_get(proxy, "pod")),
                     json_string_value(json_object_get(proxy, "namespace")));
        for (size_t n = 0; n < ARRAY_LEN(types); n++)
            print_state(t, type_of(proxy, types[n]));
        columns_cell(t, "%s", json_string_value(json_object_get(proxy, "agent")));
        columns_cell(t, "%s", json_string_value(json_object_get(proxy, "connected")));
    }
    columns_print(&t);
}

/* Whether any refused something. */
static bool print_reasons(const json_t *proxies)
{
    size_t i;
    json_t *proxy;
    bool is_any = false;
    json_array_foreach(proxies, i, proxy) {
        for (size_t n = 0; n < ARRAY_LEN(types); n++) {
            const json_t *type = type_of(proxy, types[n]);
            const char *reason = json_string_value(json_object_get(type, "reason"));
            if (!reason)
                continue;
            printf("%s%s.%s refused %s v%lld: %s\n", is_any ? "" : "\n", json_string_value(json_object_get(proxy, "pod")),
                   json_string_value(json_object_get(proxy, "namespace")), types[n],
                   (long long)json_integer_value(json_object_get(type, "sent")), reason);
            is_any = true;
        }
    }
    return is_any;
}

int cli_status(const struct cli *cli)
{
    if (cli->word_count > 0)
        return cli_usage("status takes no arguments");
    json_t *proxies = client_get(cli, "/api/v1/proxies");
    if (!proxies)
        return CLI_FAILED;
    if (cli->json) {
        json_dumpf(proxies, stdout, JSON_INDENT(1));
        puts("");
    } else if (json_array_size(proxies) == 0) {
        puts("no sidecar is connected");
    } else {
        print_table(proxies);
        print_reasons(proxies);
    }
    json_decref(proxies);
    return CLI_OK;
}
