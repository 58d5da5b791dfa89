/* Pure constructors; nothing is kept. */
#include "control/compile/emit.h"

#include "control/model/object.h"
#include "sidecar/base/die.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

char *emit_text(struct arena *a, struct str s)
{
    char *text = arena_alloc(a, s.n + 1);
    if (s.n > 0)
        memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    return text;
}

char *emit_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    struct str text = arena_vprintf(a, fmt, ap);
    va_end(ap);
    return (char *)(uintptr_t)text.p; /* the arena's, so ours to write */
}

Google__Protobuf__UInt32Value *emit_u32(struct arena *a, uint32_t value)
{
    Google__Protobuf__UInt32Value *m = emit_u32_value(a);
    m->value = value;
    return m;
}

Google__Protobuf__UInt64Value *emit_u64(struct arena *a, uint64_t value)
{
    Google__Protobuf__UInt64Value *m = emit_u64_value(a);
    m->value = value;
    return m;
}

Google__Protobuf__BoolValue *emit_bool(struct arena *a, bool value)
{
    Google__Protobuf__BoolValue *m = emit_bool_value(a);
    m->value = value;
    return m;
}

Google__Protobuf__Duration *emit_duration(struct arena *a, uint64_t ms)
{
    Google__Protobuf__Duration *m = emit_duration_value(a);
    m->seconds = (int64_t)(ms / 1000);
    m->nanos = (int32_t)(ms % 1000) * 1000000;
    return m;
}

Google__Protobuf__Any *emit_any(struct arena *a, const void *message)
{
    return codec_any_new(message, a);
}

TYPE(Percent) *emit_percent_of(struct arena *a, double value)
{
    TYPE(Percent) *m = emit_percent(a);
    m->value = value;
    return m;
}

CORE(RuntimeFractionalPercent) *emit_of_hundred(struct arena *a, uint32_t numerator)
{
    CORE(RuntimeFractionalPercent) *m = emit_runtime_fraction(a);
    m->default_value = emit_fraction(a);
    m->default_value->numerator = numerator;
    return m;
}

TYPE(FractionalPercent) *emit_fraction_of_million(struct arena *a, double percent)
{
    TYPE(FractionalPercent) *m = emit_fraction(a);
    m->numerator = (uint32_t)(percent * 10000);
    m->denominator = ENVOY__TYPE__V3__FRACTIONAL_PERCENT__DENOMINATOR_TYPE__MILLION;
    return m;
}

CORE(Address) *emit_socket_address(struct arena *a, struct str address, uint32_t port)
{
    CORE(Address) *m = emit_address(a);
    m->address_case = ENVOY__CONFIG__CORE__V3__ADDRESS__ADDRESS_SOCKET_ADDRESS;
    m->socket_address = emit_socket_address_message(a);
    m->socket_address->address = emit_text(a, address);
    m->socket_address->port_specifier_case = ENVOY__CONFIG__CORE__V3__SOCKET_ADDRESS__PORT_SPECIFIER_PORT_VALUE;
    m->socket_address->port_value = port;
    return m;
}

CORE(ConfigSource) *emit_ads(struct arena *a)
{
    CORE(ConfigSource) *m = emit_config_source(a);
    m->config_source_specifier_case = ENVOY__CONFIG__CORE__V3__CONFIG_SOURCE__CONFIG_SOURCE_SPECIFIER_ADS;
    m->ads = emit_aggregated_source(a);
    m->initial_fetch_timeout = emit_duration(a, 0);
    m->resource_api_version = ENVOY__CONFIG__CORE__V3__API_VERSION__V3;
    return m;
}

MATCHER(RegexMatcher) *emit_regex(struct arena *a, const char *pattern)
{
    MATCHER(RegexMatcher) *m = emit_regex_matcher(a);
    m->regex = emit_text(a, str_of(pattern));
    return m;
}

void *emit_grow(struct arena *a, void *v, size_t n)
{
    /* Full at 0, 4, 8, 16, ...: the count tells the room. */
    bool is_full = n == 0 || (n >= 4 && (n & (n - 1)) == 0);
    if (!is_full)
        return v;
    void **grown = ARENA_ARRAY(a, void *, n == 0 ? 4 : n * 2);
    if (n > 0)
        memcpy(grown, v, n * sizeof(void *));
    return grown;
}

Google__Protobuf__Value *emit_struct_add(struct arena *a, Google__Protobuf__Struct *s, const char *key)
{
    Google__Protobuf__Struct__FieldsEntry *entry = emit_struct_entry(a);
    entry->key = emit_text(a, str_of(key));
    entry->value = emit_value(a);
    EMIT_PUSH(a, s->n_fields, s->fields, entry);
    return entry->value;
}

void emit_struct_text(struct arena *a, Google__Protobuf__Struct *s, const char *key, struct str text)
{
    Google__Protobuf__Value *value = emit_struct_add(a, s, key);
    value->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE;
    value->string_value = emit_text(a, text);
}

Google__Protobuf__Struct *emit_istio_metadata(struct arena *a, CORE(Metadata) **metadata)
{
    if (!*metadata)
        *metadata = emit_metadata(a);
    CORE(Metadata__FilterMetadataEntry) *entry = emit_metadata_entry(a);
    entry->key = emit_text(a, STR("istio"));
    entry->value = emit_struct_value(a);
    EMIT_PUSH(a, (*metadata)->n_filter_metadata, (*metadata)->filter_metadata, entry);
    return entry->value;
}

void emit_config_metadata(struct arena *a, CORE(Metadata) **metadata, const struct object *rule)
{
    const char *kind = rule->kind == KIND_VIRTUAL_SERVICE ? "virtual-service" : "destination-rule";
    struct str path = str_of(emit_printf(a, "/apis/networking.istio.io/v1/namespaces/%.*s/%s/%.*s", STR_FMT(rule->ns), kind,
                                         STR_FMT(rule->name)));
    emit_struct_text(a, emit_istio_metadata(a, metadata), "config", path);
}
