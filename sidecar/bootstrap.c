/* Reads and completes the Bootstrap. Runs once, before any thread. */
#include "sidecar/bootstrap.h"

#include "sidecar/base/die.h"
#include "sidecar/base/file.h"
#include "sidecar/config/supported.h"
#include "sidecar/environment.h"

#include "proto/codec.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BOOTSTRAP_MAX_BYTES (64u << 20)

static bool read_file(const char *path, struct buf *text, struct buf *out)
{
    int rc = file_read(path, BOOTSTRAP_MAX_BYTES, text);
    if (rc == -EFBIG)
        buf_printf(out, "%s: error OG0103: larger than %u bytes\n", path, BOOTSTRAP_MAX_BYTES);
    else if (rc != 0)
        buf_printf(out, "%s: error OG0115: cannot be read: %s\n", path, strerror(-rc));
    return rc == 0;
}

/* The text's tree weighs ten times the text, and is gone at the end. */
static bool parse(struct bootstrap *b, struct str text, const char *file, struct buf *out)
{
    const struct codec_text_options options = {CODEC_STRICT, DURATIONS_PROTOBUF};
    struct arena *scratch = arena_new(16384);
    struct findings findings;
    struct node **docs;
    findings_init(&findings, scratch);
    unsigned count = node_parse(text, file, scratch, &findings, &docs);
    ProtobufCMessage *m = NULL;
    if (findings.errors == 0 && count == 1)
        m = codec_from_node(&envoy__config__bootstrap__v3__bootstrap__descriptor, docs[0], "", &options, scratch,
                            &findings);
    findings_print_all(&findings, out);
    if (findings.errors == 0 && count != 1)
        buf_printf(out, "%s: error OG0101: one document is needed, got %u\n", file, count);
    b->message = m ? (void *)codec_clone(m, b->arena) : NULL;
    arena_free(&scratch);
    return m != NULL;
}

static bool check_ads(struct bootstrap *b, struct err *err)
{
    const Envoy__Config__Bootstrap__V3__Bootstrap__DynamicResources *d = b->message->dynamic_resources;
    const struct {
        const char *name;
        const Envoy__Config__Core__V3__ConfigSource *source;
        bool *wanted;
    } sources[] = {
        {"cds_config", d ? d->cds_config : NULL, &b->wants_cds},
        {"lds_config", d ? d->lds_config : NULL, &b->wants_lds},
    };
    if (!d)
        return true;
    for (unsigned i = 0; i < ARRAY_LEN(sources); i++) {
        if (sources[i].source && sources[i].source->config_source_specifier_case !=
                                     ENVOY__CONFIG__CORE__V3__CONFIG_SOURCE__CONFIG_SOURCE_SPECIFIER_ADS)
            return err_set(err, "dynamic_resources.%s: only ads is supported", sources[i].name);
        *sources[i].wanted = sources[i].source != NULL;
        if (sources[i].source)
            b->first_fetch_timeout_ms = codec_duration_ms(sources[i].source->initial_fetch_timeout, 15000);
    }
    const Envoy__Config__Core__V3__ApiConfigSource *ads = d->ads_config;
    if (!ads)
        return (!b->wants_cds && !b->wants_lds) ||
               err_set(err, "dynamic_resources.ads_config: is required by cds_config and lds_config");
    if (ads->api_type != ENVOY__CONFIG__CORE__V3__API_CONFIG_SOURCE__API_TYPE__GRPC &&
        ads->api_type != ENVOY__CONFIG__CORE__V3__API_CONFIG_SOURCE__API_TYPE__DELTA_GRPC)
        return err_set(err, "dynamic_resources.ads_config.api_type: GRPC or DELTA_GRPC, got %d", (int)ads->api_type);
    b->ads_delta = ads->api_type == ENVOY__CONFIG__CORE__V3__API_CONFIG_SOURCE__API_TYPE__DELTA_GRPC;
    if (ads->transport_api_version != ENVOY__CONFIG__CORE__V3__API_VERSION__V3)
        return err_set(err, "dynamic_resources.ads_config.transport_api_version: V3 is required");
    if (ads->n_grpc_services != 1 || !ads->grpc_services[0]->envoy_grpc ||
        !ads->grpc_services[0]->envoy_grpc->cluster_name[0])
        return err_set(err, "dynamic_resources.ads_config.grpc_services: exactly one with envoy_grpc.cluster_name is needed");
    b->ads_cluster = str_of(ads->grpc_services[0]->envoy_grpc->cluster_name);
    return true;
}

static bool check_admin(struct bootstrap *b, struct err *err)
{
    const Envoy__Config__Bootstrap__V3__Admin *admin = b->message->admin;
    if (!admin || !admin->address)
        return true;
    const Envoy__Config__Core__V3__Address *a = admin->address;
    if (a->address_case == ENVOY__CONFIG__CORE__V3__ADDRESS__ADDRESS_PIPE)
        return addr_from_unix(str_of(a->pipe->path), &b->admin) ||
               err_set(err, "admin.address.pipe.path: empty or too long, got \"%s\"", a->pipe->path);
    const Envoy__Config__Core__V3__SocketAddress *sa = a->socket_address;
    if (!sa || sa->port_value > 65535 || !addr_from_ip(str_of(sa->address), (uint16_t)sa->port_value, &b->admin))
        return err_set(err, "admin.address: an IP address and a port are needed, got \"%s\"", sa ? sa->address : "");
    return true;
}

static void complete_node(struct bootstrap *b, const struct options *o)
{
    if (!b->message->node)
        b->message->node = (void *)codec_new(&envoy__config__core__v3__node__descriptor, b->arena);
    b->node = b->message->node;
    if (o->service_node && !b->node->id[0])
        b->node->id = arena_strdup(b->arena, o->service_node);
    if (o->service_cluster && !b->node->cluster[0])
        b->node->cluster = arena_strdup(b->arena, o->service_cluster);
    if (o->service_zone && !b->node->locality) {
        b->node->locality = (void *)codec_new(&envoy__config__core__v3__locality__descriptor, b->arena);
        b->node->locality->zone = arena_strdup(b->arena, o->service_zone);
    }
    b->node->user_agent_name = arena_strdup(b->arena, "outrigger");
    b->node->user_agent_version_type_case = ENVOY__CONFIG__CORE__V3__NODE__USER_AGENT_VERSION_TYPE_USER_AGENT_VERSION;
    b->node->user_agent_version = arena_strdup(b->arena, OUTRIGGER_VERSION);
}

static void find_outlier_log(struct bootstrap *b)
{
    const Envoy__Config__Bootstrap__V3__ClusterManager *m = b->message->cluster_manager;
    if (m && m->outlier_detection && m->outlier_detection->event_log_path[0])
        b->outlier_event_log = m->outlier_detection->event_log_path;
}

static bool complete(struct bootstrap *b, const struct options *o, struct err *err)
{
    complete_node(b, o);
    if (!supported_check(&b->message->base, err) || !check_ads(b, err) || !check_admin(b, err))
        return false;
    if (b->ads_cluster.n > 0 && (!b->node->id[0] || !b->node->cluster[0]))
        return err_set(err, "node: id and cluster are required with dynamic resources; set them, or give --service-node and "
                            "--service-cluster");
    find_outlier_log(b);
    return true;
}

bool bootstrap_load(const struct options *o, struct bootstrap *b, struct buf *out)
{
    struct buf text = {0};
    struct err err = {0};
    const char *file = o->config_path ? o->config_path : o->config_yaml ? "--config-yaml" : "environment";
    *b = (struct bootstrap){.arena = arena_new(16384), .termination_drain_ms = 5000};
    bool ok = true;
    if (o->config_path) {
        ok = read_file(o->config_path, &text, out);
    } else if (o->config_yaml) {
        buf_append_c(&text, o->config_yaml);
    } else {
        struct environment_extras extras = {0};
        ok = environment_bootstrap(&text, &extras, &err);
        b->from_environment = true;
        b->health_port = extras.health_port;
        b->metrics_port = extras.metrics_port;
        b->merged_metrics_port = extras.merged_metrics_port;
        b->termination_drain_ms = extras.termination_drain_ms;
        b->concurrency = extras.concurrency;
    }
    uint64_t drain_s;
    if (str_to_u64(str_of(getenv("TERMINATION_DRAIN_DURATION_SECONDS")), &drain_s) && drain_s < 86400)
        b->termination_drain_ms = drain_s * 1000;
    ok = ok && parse(b, buf_str(&text), file, out) && complete(b, o, &err);
    if (err.set)
        buf_printf(out, "%s: error OG0111: %s\n", file, err.text);
    buf_fini(&text);
    return ok;
}

void bootstrap_settle(struct bootstrap *b)
{
    struct arena *was = b->arena;
    struct buf bytes = {0};
    struct err err = {0};
    codec_pack(&b->message->base, &bytes);
    b->arena = arena_new(4096);
    b->bytes = arena_str(b->arena, buf_str(&bytes));
    buf_fini(&bytes);
    b->message->static_resources = NULL;
    b->message = (void *)codec_clone(&b->message->base, b->arena);
    b->node = b->message->node;
    if (!check_ads(b, &err))
        die("the bootstrap changed when it was copied: %s", err.text);
    find_outlier_log(b);
    arena_free(&was);
}

void bootstrap_fini(struct bootstrap *b)
{
    arena_free(&b->arena);
    b->message = NULL;
}
