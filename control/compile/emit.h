/* Small parts of messages: wrappers, durations, lists, Any. All in an arena. */
#ifndef OUTRIGGER_CONTROL_COMPILE_EMIT_H
#define OUTRIGGER_CONTROL_COMPILE_EMIT_H

#include "control/compile/envoy.h"
#include "proto/codec.h"

char *emit_text(struct arena *a, struct str s);
char *emit_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
Google__Protobuf__UInt32Value *emit_u32(struct arena *a, uint32_t value);
Google__Protobuf__UInt64Value *emit_u64(struct arena *a, uint64_t value);
Google__Protobuf__BoolValue *emit_bool(struct arena *a, bool value);
Google__Protobuf__Duration *emit_duration(struct arena *a, uint64_t ms);
Google__Protobuf__Any *emit_any(struct arena *a, const void *message);
TYPE(Percent) *emit_percent_of(struct arena *a, double value);
/* numerator of a hundred, or of a million. */
CORE(RuntimeFractionalPercent) *emit_of_hundred(struct arena *a, uint32_t numerator);
TYPE(FractionalPercent) *emit_fraction_of_million(struct arena *a, double percent);
CORE(Address) *emit_socket_address(struct arena *a, struct str address, uint32_t port);
CORE(ConfigSource) *emit_ads(struct arena *a);
MATCHER(RegexMatcher) *emit_regex(struct arena *a, const char *pattern);

/* Appends to a repeated field of pointers: EMIT_PUSH(a, m->n_routes, m->routes, route). */
#define EMIT_PUSH(a, n, v, item)                                                                                         \
    do {                                                                                                                 \
        (v) = emit_grow((a), (void *)(v), (n));                                                                          \
        (v)[(n)++] = (item);                                                                                             \
    } while (0)
/* Room for one more pointer behind n; v is grown by doubling. */
void *emit_grow(struct arena *a, void *v, size_t n);

/* filter_metadata.istio of a resource. */
Google__Protobuf__Struct *emit_istio_metadata(struct arena *a, CORE(Metadata) **metadata);
Google__Protobuf__Value *emit_struct_add(struct arena *a, Google__Protobuf__Struct *s, const char *key);
void emit_struct_text(struct arena *a, Google__Protobuf__Struct *s, const char *key, struct str text);
/* {"config": "/apis/networking.istio.io/v1/namespaces/NS/virtual-service/NAME"} */
struct object;
void emit_config_metadata(struct arena *a, CORE(Metadata) **metadata, const struct object *rule);

#endif
