/* JSON trees of documents, and YAML text of JSON trees. */
#ifndef OUTRIGGER_CONTROL_INJECT_TREE_H
#define OUTRIGGER_CONTROL_INJECT_TREE_H

#include "proto/codec.h"

#include <jansson.h>

/* A new reference. NULL when something in it cannot be said in JSON (a number that is not finite): at_r is where. */
json_t *tree_of_node(const struct node *n, const struct node **at_r);
/* Appends v as block-style YAML, each line indented by so many spaces. v is an object or an array, not empty. */
void tree_print_yaml(const json_t *v, unsigned indent, struct buf *out);

#endif
