/* Finds a message type by full name or type URL. Owns nothing: the table is generated and constant,
 * so any thread may ask. */
#include "proto/codec.h"
#include "proto/types.h"

#include <string.h>

struct str codec_type_name(struct str type_url)
{
    for (ptrdiff_t slash; (slash = str_index(type_url, '/', 0)) >= 0;)
        type_url = str_sub(type_url, (size_t)slash + 1, type_url.n);
    return type_url;
}

const ProtobufCMessageDescriptor *codec_find_type(struct str name_or_url)
{
    struct str name = codec_type_name(name_or_url);
    unsigned low = 0, high = codec_type_count;
    while (low < high) {
        unsigned middle = low + (high - low) / 2;
        int order = str_cmp(name, str_of(codec_types[middle]->name));
        if (order == 0)
            return codec_types[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}
