/* Finds a message type by full name or type URL. Owns nothing: the table is generated and constant, so any thread
 * may ask. */
#include "proto/codec.h"
#include "proto/types.h"

#include <string.h>

const ProtobufCMessageDescriptor *codec_find_type(struct str name_or_url)
{
    struct str name = name_or_url;
    for (ptrdiff_t slash; (slash = str_index(name, '/', 0)) >= 0;)
        name = str_sub(name, (size_t)slash + 1, name.n);
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
