/* Pure: from the message to an identity. The metadata is a peer's: nothing of it is taken for true but for pods that nobody
 * else knows. */
#include "control/ads_server/node.h"

#include "control/model/host.h"
#include "sidecar/base/die.h"
#include "sidecar/net/addr.h"

#include <stdlib.h>
#include <string.h>

#define LABELS_MAX 256
#define FORM "sidecar~IP~POD.NAMESPACE~NAMESPACE.svc.cluster.local"

static const Google__Protobuf__Value *find(const Google__Protobuf__Struct *s, const char *key)
{
    for (size_t i = 0; s && i < s->n_fields; i++) {
        if (strcmp(s->fields[i]->key, key) == 0)
            return s->fields[i]->value;
    }
    return NULL;
}

static struct str text_of(const Google__Protobuf__Value *value)
{
    return value && value->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE ? str_of(value->string_value) : STR("");
}

static int compare_keys(const void *a, const void *b)
{
    return str_cmp(((const struct label *)a)->key, ((const struct label *)b)->key);
}

static struct labels read_labels(const Google__Protobuf__Value *value, struct arena *arena)
{
    if (!value || value->kind_case != GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE)
        return (struct labels){NULL, 0};
    const Google__Protobuf__Struct *s = value->struct_value;
    size_t n = s->n_fields < LABELS_MAX ? s->n_fields : LABELS_MAX;
    struct label *v = ARENA_ARRAY(arena, struct label, n + 1);
    for (size_t i = 0; i < n; i++)
        v[i] = (struct label){str_of(s->fields[i]->key), text_of(s->fields[i]->value)};
    qsort(v, n, sizeof(*v), compare_keys);
    return (struct labels){v, (unsigned)n};
}

static bool refuse(struct err *err, const char *id, const char *why)
{
    return err_set(err, "node.id: %s, got \"%.200s\"; it must be " FORM, why, id);
}

static bool read_id(const char *id, struct client_identity *identity, struct err *err)
{
    struct str rest = str_of(id), part[4];
    struct addr addr;
    unsigned n = 0;
    while (n < 4 && str_next(&rest, '~', &part[n]))
        n++;
    if (n < 4 || rest.n > 0)
        return refuse(err, id, "does not have four parts");
    if (str_eq_c(part[0], "router"))
        return refuse(err, id, "is a gateway's, and gateways are not built yet");
    if (!str_eq_c(part[0], "sidecar"))
        return refuse(err, id, "is no sidecar's");
    if (!addr_from_ip(part[1], 0, &addr))
        return refuse(err, id, "the second part is no IP address");
    ptrdiff_t dot = str_index(part[3], '.', 0);
    struct str ns = dot < 0 ? part[3] : str_sub(part[3], 0, (size_t)dot);
    struct str pod = part[2];
    /* POD.NAMESPACE; the namespace is told once more behind it. */
    if (pod.n > ns.n + 1 && str_has_suffix(pod, ns) && pod.p[pod.n - ns.n - 1] == '.')
        pod = str_sub(pod, 0, pod.n - ns.n - 1);
    if (!host_is_dns_name(pod) || !host_is_dns_name(ns))
        return refuse(err, id, "does not name a pod and its namespace");
    *identity = (struct client_identity){.ns = ns, .pod = pod, .ip = part[1]};
    return true;
}

bool node_identity(const CORE(Node) *node, struct arena *arena, struct client_identity *identity_r, struct err *err)
{
    if (!node)
        return err_set(err, "node: the first request of a stream must say who asks; node.id must be " FORM);
    if (!read_id(node->id, identity_r, err))
        return false;
    struct str ns = text_of(find(node->metadata, "NAMESPACE"));
    if (ns.n > 0 && host_is_dns_name(ns))
        identity_r->ns = ns;
    identity_r->labels = read_labels(find(node->metadata, "LABELS"), arena);
    if (node->locality)
        identity_r->locality =
            arena_printf(arena, "%s/%s/%s", node->locality->region, node->locality->zone, node->locality->sub_zone);
    identity_r->is_grpc = str_has_prefix(str_of(node->user_agent_name), STR("gRPC")) ||
                          str_eq_c(text_of(find(node->metadata, "GENERATOR")), "grpc");
    return true;
}
