/* Reads protobuf's JSON with jansson: the same for what was compiled here and what the API answers. */
#include "control/cli/proxy_table.h"

#include "control/cli/cli.h"
#include "control/cli/proxy_notes.h"
#include "sidecar/base/die.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *text_of(const json_t *object, const char *key, const char *fallback)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text && text[0] ? text : fallback;
}

/* The member at a path of keys; NULL where it ends early. */
static const json_t *at(const json_t *from, const char *const *keys)
{
    for (; from && *keys; keys++)
        from = json_object_get(from, *keys);
    return from;
}
#define AT(from, ...) at((from), (const char *const[]){__VA_ARGS__, NULL})

/* "/apis/networking.istio.io/v1/namespaces/NS/KIND/NAME" as "NAME.NS"; "" where there is none. */
static void write_rule(const json_t *resource, char *text, size_t cap)
{
    const char *path = json_string_value(AT(resource, "metadata", "filterMetadata", "istio", "config"));
    const char *ns = path ? strstr(path, "/namespaces/") : NULL;
    text[0] = '\0';
    if (!ns)
        return;
    struct str rest = str_of(ns + strlen("/namespaces/")), part[3] = {STR_NONE, STR_NONE, STR_NONE};
    for (unsigned i = 0; i < 3 && str_next(&rest, '/', &part[i]); i++)
        ;
    snprintf(text, cap, "%.*s.%.*s", STR_FMT(part[2]), STR_FMT(part[0]));
}

/* ---- Clusters. ---- */

static void cluster_row(struct columns *t, const json_t *cluster)
{
    const char *name = text_of(cluster, "name", "");
    struct str rest = str_of(name), part[4] = {STR_NONE, STR_NONE, STR_NONE, STR_NONE};
    unsigned n = 0;
    char rule[512];
    while (n < 4 && str_next(&rest, '|', &part[n]))
        n++;
    bool is_service = n >= 2;
    write_rule(cluster, rule, sizeof(rule));
    columns_cell(t, "%.*s", STR_FMT(!is_service ? str_of(name) : part[3]));
    columns_cell(t, "%.*s", STR_FMT(is_service ? part[1] : STR("-")));
    columns_cell(t, "%.*s", STR_FMT(is_service && part[2].n > 0 ? part[2] : STR("-")));
    columns_cell(t, "%.*s", STR_FMT(is_service ? part[0] : STR("-")));
    columns_cell(t, "%s", text_of(cluster, "type", "STATIC"));
    columns_cell(t, "%s", rule);
}

static void print_clusters(const json_t *resources, const struct proxy_notes *notes)
{
    (void)notes;
    static const char *const heads[] = {"SERVICE FQDN", "PORT", "SUBSET", "DIRECTION", "TYPE", "DESTINATION RULE"};
    struct columns *t = columns_new(heads, ARRAY_LEN(heads));
    size_t i;
    json_t *cluster;
    json_array_foreach(resources, i, cluster)
        cluster_row(t, cluster);
    columns_print(&t);
}

/* ---- Endpoints. ---- */

static void endpoint_rows(struct columns *t, const json_t *assignment, const struct proxy_notes *notes)
{
    const char *cluster = text_of(assignment, "clusterName", "");
    size_t l, e;
    json_t *locality, *endpoint;
    json_array_foreach(json_object_get(assignment, "endpoints"), l, locality) {
        json_array_foreach(json_object_get(locality, "lbEndpoints"), e, endpoint) {
            const json_t *at_socket = AT(endpoint, "endpoint", "address", "socketAddress");
            const char *address = text_of(at_socket, "address", "?");
            char *host = xasprintf("%s:%lld", address, (long long)json_integer_value(json_object_get(at_socket, "portValue")));
            columns_cell(t, "%s", host);
            columns_cell(t, "%s", proxy_notes_pod(notes, address));
            columns_cell(t, "%s", text_of(endpoint, "healthStatus", "UNKNOWN"));
            columns_cell(t, "%s", proxy_notes_check(notes, cluster, host));
            columns_cell(t, "%s", cluster);
            free(host);
        }
    }
}

static void print_endpoints(const json_t *resources, const struct proxy_notes *notes)
{
    static const char *const heads[] = {"ENDPOINT", "POD", "STATUS", "OUTLIER CHECK", "CLUSTER"};
    struct columns *t = columns_new(heads, ARRAY_LEN(heads));
    size_t i;
    json_t *assignment;
    json_array_foreach(resources, i, assignment)
        endpoint_rows(t, assignment, notes);
    columns_print(&t);
}

/* ---- Listeners. ---- */

static void write_list(const json_t *list, const char *label, struct buf *out)
{
    size_t i;
    json_t *item;
    if (json_array_size(list) == 0)
        return;
    buf_printf(out, "%s%s: ", buf_len(out) > 0 ? "; " : "", label);
    json_array_foreach(list, i, item)
        buf_printf(out, "%s%s", i > 0 ? "," : "", json_string_value(item));
}

static void write_match(const json_t *match, struct buf *out)
{
    const char *transport = text_of(match, "transportProtocol", NULL);
    const json_t *port = json_object_get(match, "destinationPort");
    if (transport)
        buf_printf(out, "Trans: %s", transport);
    write_list(json_object_get(match, "serverNames"), "SNI", out);
    write_list(json_object_get(match, "applicationProtocols"), "App", out);
    size_t i;
    json_t *range;
    json_array_foreach(json_object_get(match, "prefixRanges"), i, range)
        buf_printf(out, "%sAddr: %s/%lld", buf_len(out) > 0 ? "; " : "", text_of(range, "addressPrefix", ""),
                   (long long)json_integer_value(json_object_get(range, "prefixLen")));
    if (port)
        buf_printf(out, "%sAddr: *:%lld", buf_len(out) > 0 ? "; " : "", (long long)json_integer_value(port));
    if (buf_len(out) == 0)
        buf_append_c(out, "ALL");
}

static void write_destination(const json_t *chain, struct buf *out)
{
    const json_t *config = json_object_get(json_array_get(json_object_get(chain, "filters"), 0), "typedConfig");
    const char *routes = json_string_value(AT(config, "rds", "routeConfigName"));
    const char *inline_routes = json_string_value(AT(config, "routeConfig", "name"));
    const char *cluster = text_of(config, "cluster", NULL);
    size_t i;
    json_t *weight;
    if (routes)
        buf_printf(out, "Route: %s", routes);
    else if (inline_routes)
        buf_printf(out, "Inline Route: %s", inline_routes);
    else if (cluster)
        buf_printf(out, "%s%s", strchr(cluster, '|') ? "Cluster: " : "", cluster);
    json_array_foreach(AT(config, "weightedClusters", "clusters"), i, weight)
        buf_printf(out, "%sCluster: %s (%lld)", i > 0 ? ", " : "", text_of(weight, "name", ""),
                   (long long)json_integer_value(json_object_get(weight, "weight")));
}

static void chain_row(struct columns *t, const json_t *listener, const json_t *chain)
{
    const json_t *address = AT(listener, "address", "socketAddress");
    struct buf match = {0}, destination = {0};
    write_match(json_object_get(chain, "filterChainMatch"), &match);
    write_destination(chain, &destination);
    columns_cell(t, "%s", text_of(address, "address", ""));
    columns_cell(t, "%lld", (long long)json_integer_value(json_object_get(address, "portValue")));
    columns_cell(t, "%.*s", STR_FMT(buf_str(&match)));
    columns_cell(t, "%.*s", STR_FMT(buf_str(&destination)));
    buf_fini(&match);
    buf_fini(&destination);
}

static void print_listeners(const json_t *resources, const struct proxy_notes *notes)
{
    (void)notes;
    static const char *const heads[] = {"ADDRESSES", "PORT", "MATCH", "DESTINATION"};
    struct columns *t = columns_new(heads, ARRAY_LEN(heads));
    size_t i, c;
    json_t *listener, *chain;
    json_array_foreach(resources, i, listener) {
        json_array_foreach(json_object_get(listener, "filterChains"), c, chain)
            chain_row(t, listener, chain);
        if (json_object_get(listener, "defaultFilterChain"))
            chain_row(t, listener, json_object_get(listener, "defaultFilterChain"));
    }
    columns_print(&t);
}

/* ---- Routes. ---- */

static void write_path(const json_t *match, struct buf *out)
{
    const char *prefix = text_of(match, "prefix", NULL), *path = text_of(match, "path", NULL);
    const char *regex = json_string_value(AT(match, "safeRegex", "regex"));
    if (prefix)
        buf_printf(out, "%s*", prefix);
    else if (path)
        buf_append_c(out, path);
    else
        buf_printf(out, "regex %s", regex ? regex : "?");
    size_t conditions = json_array_size(json_object_get(match, "headers")) + json_array_size(json_object_get(match, "queryParameters"));
    if (conditions > 0)
        buf_printf(out, " + %zu more condition%s", conditions, conditions > 1 ? "s" : "");
}

static void write_domains(const json_t *host, struct buf *out)
{
    const json_t *domains = json_object_get(host, "domains");
    size_t n = json_array_size(domains);
    for (size_t i = 0; i < n && i < 2; i++)
        buf_printf(out, "%s%s", i > 0 ? ", " : "", json_string_value(json_array_get(domains, i)));
    if (n > 2)
        buf_printf(out, " + %zu more", n - 2);
}

static void route_rows(struct columns *t, const json_t *table, const json_t *host)
{
    size_t i;
    json_t *route;
    json_array_foreach(json_object_get(host, "routes"), i, route) {
        struct buf path = {0}, domains = {0};
        char rule[512];
        write_path(json_object_get(route, "match"), &path);
        write_domains(host, &domains);
        write_rule(route, rule, sizeof(rule));
        columns_cell(t, "%s", text_of(table, "name", ""));
        columns_cell(t, "%s", text_of(host, "name", ""));
        columns_cell(t, "%.*s", STR_FMT(buf_str(&domains)));
        columns_cell(t, "%.*s", STR_FMT(buf_str(&path)));
        columns_cell(t, "%s", rule);
        buf_fini(&path);
        buf_fini(&domains);
    }
}

static void print_routes(const json_t *resources, const struct proxy_notes *notes)
{
    (void)notes;
    static const char *const heads[] = {"NAME", "VHOST NAME", "DOMAINS", "MATCH", "VIRTUAL SERVICE"};
    struct columns *t = columns_new(heads, ARRAY_LEN(heads));
    size_t i, h;
    json_t *table, *host;
    json_array_foreach(resources, i, table) {
        json_array_foreach(json_object_get(table, "virtualHosts"), h, host)
            route_rows(t, table, host);
    }
    columns_print(&t);
}

int proxy_table_print(enum resource_type type, struct str text, const struct proxy_notes *notes)
{
    static void (*const printers[RESOURCE_TYPE_COUNT])(const json_t *, const struct proxy_notes *) = {
        [RESOURCE_CLUSTER] = print_clusters,
        [RESOURCE_ENDPOINT] = print_endpoints,
        [RESOURCE_LISTENER] = print_listeners,
        [RESOURCE_ROUTE] = print_routes,
    };
    json_error_t fault;
    json_t *resources = json_loadb(text.p, text.n, 0, &fault);
    if (!json_is_array(resources)) {
        json_decref(resources);
        return cli_fail("the answer is no list of resources: %s", fault.text);
    }
    printers[type](resources, notes);
    json_decref(resources);
    return CLI_OK;
}
