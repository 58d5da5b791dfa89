/* Two small JSON objects as tables: from the registry, or from two answers of the API. */
#include "control/cli/proxy_notes.h"

#include "control/cli/client.h"
#include "control/registry/registry.h"
#include "sidecar/base/die.h"

#include <stdlib.h>
#include <string.h>

void proxy_notes_of_files(struct proxy_notes *notes, const struct registry *registry)
{
    notes->pods = json_object();
    for (unsigned i = 0; i < registry->pod_count; i++) {
        const struct pod *p = registry->pods[i];
        char *ip = xmemdup0(p->ip.p, p->ip.n);
        json_object_set_new(notes->pods, ip, json_stringn(p->name.p, p->name.n));
        free(ip);
    }
}

static void take_pods(struct proxy_notes *notes, const json_t *services)
{
    size_t s, e;
    json_t *service, *endpoint;
    notes->pods = json_object();
    json_array_foreach(services, s, service) {
        json_array_foreach(json_object_get(service, "endpoints"), e, endpoint) {
            const char *address = json_string_value(json_object_get(endpoint, "address"));
            json_t *pod = json_object_get(endpoint, "pod");
            if (address && pod)
                json_object_set(notes->pods, address, pod);
        }
    }
}

static char *host_key(const char *cluster, const char *host)
{
    return xasprintf("%s %s", cluster ? cluster : "", host ? host : "");
}

static void take_hosts(struct proxy_notes *notes, const json_t *rows)
{
    size_t i;
    json_t *row;
    notes->hosts = json_object();
    json_array_foreach(rows, i, row) {
        char *key = host_key(json_string_value(json_object_get(row, "cluster")), json_string_value(json_object_get(row, "host")));
        json_object_set(notes->hosts, key, json_object_get(row, "state"));
        free(key);
    }
}

void proxy_notes_of_plane(struct proxy_notes *notes, const struct cli *cli, struct str pod, struct str ns)
{
    json_t *services = client_get(cli, "/api/v1/services");
    char *path = xasprintf("/api/v1/breakers?proxy=%.*s.%.*s", STR_FMT(pod), STR_FMT(ns));
    json_t *rows = client_get(cli, path);
    take_pods(notes, services);
    take_hosts(notes, rows);
    json_decref(services);
    json_decref(rows);
    free(path);
}

void proxy_notes_fini(struct proxy_notes *notes)
{
    json_decref(notes->pods);
    json_decref(notes->hosts);
    *notes = (struct proxy_notes){0};
}

const char *proxy_notes_pod(const struct proxy_notes *notes, const char *address)
{
    const char *pod = json_string_value(json_object_get(notes->pods, address));
    return pod ? pod : "-";
}

const char *proxy_notes_check(const struct proxy_notes *notes, const char *cluster, const char *host)
{
    char *key = host_key(cluster, host);
    const char *state = json_string_value(json_object_get(notes->hosts, key));
    free(key);
    return !state ? "-" : strcmp(state, "ejected") == 0 ? "FAILED" : "OK";
}
