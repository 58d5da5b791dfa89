/* HTTP filters: one table of kinds, how each is configured. A kind is known by the type of its configuration (type URL) and
 * by its name, under which routes override it. */
#ifndef OUTRIGGER_FILTER_FILTER_H
#define OUTRIGGER_FILTER_FILTER_H

#include "sidecar/base/arena.h"
#include "sidecar/base/err.h"
#include "sidecar/base/str.h"

#include <protobuf-c/protobuf-c.h>

struct filter_vtable {
    const char *name; /* "envoy.filters.http.fault": the key of typed_per_filter_config */
    const ProtobufCMessageDescriptor *config;   /* of the chain */
    const ProtobufCMessageDescriptor *override; /* of a route; NULL: routes cannot override it */
    bool terminal;                              /* the router: last in the chain */
    /* Both build in the arena and return what the hooks read; NULL with err. Memory outside the arena is freed by free_x
     * (NULL: nothing to free). */
    void *(*build)(const ProtobufCMessage *m, struct arena *a, struct err *err);
    void (*free_config)(void *config);
    void *(*build_override)(const ProtobufCMessage *m, struct arena *a, struct err *err);
    void (*free_override)(void *config);
};

/* One filter of a chain. */
struct filter_instance_cfg {
    const struct filter_vtable *filter;
    unsigned index; /* filter_index(filter): where routes keep their override */
    void *config;
    bool disabled; /* by default; a route's override enables it */
};
void filter_instance_fini(struct filter_instance_cfg *f);

unsigned filter_count(void);
/* The kind's place in the table, below filter_count(). */
unsigned filter_index(const struct filter_vtable *f);
const struct filter_vtable *filter_find_by_config(struct str type_name); /* NULL: not built */
const struct filter_vtable *filter_find_by_name(struct str name);

#endif
