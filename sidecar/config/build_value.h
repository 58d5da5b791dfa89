/* Builders of the small values that several resources share. For siblings only. */
#ifndef OUTRIGGER_CONFIG_BUILD_VALUE_H
#define OUTRIGGER_CONFIG_BUILD_VALUE_H

#include "proto/codec.h"
#include "proto/core.pb-c.h"
#include "proto/google_protobuf.pb-c.h"
#include "proto/matcher.pb-c.h"
#include "proto/type.pb-c.h"
#include "sidecar/config/build.h"
#include "sidecar/filter/build_match.h"

/* ---- Wrappers. ---- */
static inline uint32_t value_u32(const Google__Protobuf__UInt32Value *w, uint32_t fallback)
{
    return w ? w->value : fallback;
}
static inline uint64_t value_u64(const Google__Protobuf__UInt64Value *w, uint64_t fallback)
{
    return w ? w->value : fallback;
}
static inline bool value_bool(const Google__Protobuf__BoolValue *w, bool fallback)
{
    return w ? w->value : fallback;
}
static inline double value_double(const Google__Protobuf__DoubleValue *w, double fallback)
{
    return w ? w->value : fallback;
}

/* A SocketAddress or Pipe. Where name_r is given a host name is fine too: then addr_r->len is 0 and *name_r and *port_r
 * are set (they point into the message). */
bool build_address(const Envoy__Config__Core__V3__Address *m, struct addr *addr_r, struct str *name_r, uint16_t *port_r,
                   struct err *err);
bool build_cidrs(Envoy__Config__Core__V3__CidrRange **m, size_t count, struct arena *a, struct cidr **v_r,
                 unsigned *count_r, const char *path, struct err *err);
bool build_header_edits(Envoy__Config__Core__V3__HeaderValueOption **add, size_t add_count, char **remove,
                        size_t remove_count, struct arena *a, struct header_edits *edits_r, const char *path,
                        struct err *err);
bool build_inline_data(const Envoy__Config__Core__V3__DataSource *m, struct arena *a, struct str *data_r, struct err *err);
/* How names of fields are written; m may be NULL. */
bool build_names(const Envoy__Config__Core__V3__Http1ProtocolOptions *m, struct arena *scratch, struct name_options *to,
                 struct err *err);
/* Only scalars of the filter metadata are kept. */
void build_struct_pairs(const Google__Protobuf__Struct *m, struct str filter, struct arena *a,
                        struct metadata_pair **v_r, unsigned *count_r);
void build_metadata(const Envoy__Config__Core__V3__Metadata *m, struct arena *a, struct metadata_pair **v_r,
                    unsigned *count_r);
/* The labels of a struct, sorted as given; *count_r 0 for none. */
void build_labels(const Google__Protobuf__Struct *m, struct arena *a, struct subset_label **v_r, unsigned *count_r);
/* What metadata_match wants by its envoy.lb; NULL: nothing. */
struct subset_criteria *build_criteria(const Envoy__Config__Core__V3__Metadata *m, struct arena *a);

/* The type of a type URL: what stands behind the last '/'. */
struct str build_type_of(const Google__Protobuf__Any *any);
/* Unpacks into scratch and checks its fields; NULL with err. want: the only type allowed. */
ProtobufCMessage *build_any(const Google__Protobuf__Any *any, const ProtobufCMessageDescriptor *want,
                            struct arena *scratch, struct err *err);
/* The message of a HTTP filter's or other extension's Any, by its own type; NULL with err where the type is not ours. */
ProtobufCMessage *build_any_of_its_type(const Google__Protobuf__Any *any, struct arena *scratch, struct err *err);

#endif
