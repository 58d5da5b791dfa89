/* Who may speak, and what of its words counts. */
#include "control/ads_server/node.h"
#include "sidecar/base/die.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void ids_are_read_or_refused(void **state)
{
    (void)state;
    static const struct {
        const char *id, *pod, *ns, *fault; /* fault NULL: fine */
    } rows[] = {
        {"sidecar~10.0.0.1~web-1.shop~shop.svc.cluster.local", "web-1", "shop", NULL},
        {"sidecar~fd00::1~web-1.shop~shop.svc.cluster.local", "web-1", "shop", NULL},
        {"sidecar~10.0.0.1~web.1.shop~shop.svc.cluster.local", "web.1", "shop", NULL},
        {"sidecar~10.0.0.1~web-1~shop.svc.cluster.local", "web-1", "shop", NULL},
        {"sidecar~10.0.0.1~web-1.shop~shop", "web-1", "shop", NULL},
        {"", NULL, NULL, "four parts"},
        {"envoy", NULL, NULL, "four parts"},
        {"sidecar~10.0.0.1~web-1.shop", NULL, NULL, "four parts"},
        {"sidecar~10.0.0.1~web-1.shop~shop~x", NULL, NULL, "four parts"},
        {"router~10.0.0.1~web-1.shop~shop.svc.cluster.local", NULL, NULL, "gateways are not built"},
        {"waypoint~10.0.0.1~web-1.shop~shop.svc.cluster.local", NULL, NULL, "no sidecar"},
        {"sidecar~host~web-1.shop~shop.svc.cluster.local", NULL, NULL, "no IP address"},
        {"sidecar~10.0.0.1~~shop.svc.cluster.local", NULL, NULL, "does not name a pod"},
        {"sidecar~10.0.0.1~web/1.shop~shop.svc.cluster.local", NULL, NULL, "does not name a pod"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena *arena = arena_new(1024);
        struct client_identity identity;
        struct err err = {0};
        CORE(Node) node;
        envoy__config__core__v3__node__init(&node);
        node.id = arena_strdup(arena, rows[i].id);
        bool ok = node_identity(&node, arena, &identity, &err);
        if (ok != !rows[i].fault)
            fail_msg("%s: %s", rows[i].id, err.text);
        if (ok)
            assert_true(str_eq_c(identity.pod, rows[i].pod) && str_eq_c(identity.ns, rows[i].ns));
        else
            assert_true(strstr(err.text, rows[i].fault) && strstr(err.text, "sidecar~IP~POD.NAMESPACE~"));
        arena_free(&arena);
    }
}

static void metadata_is_read(void **state)
{
    (void)state;
    struct arena *arena = arena_new(1024);
    struct client_identity identity;
    struct err err = {0};
    CORE(Node) node;
    envoy__config__core__v3__node__init(&node);
    node.id = arena_strdup(arena, "sidecar~10.0.0.1~web-1.shop~shop.svc.cluster.local");
    node.user_agent_name = arena_strdup(arena, "gRPC C-core");
    node.metadata = emit_struct_value(arena);
    emit_struct_text(arena, node.metadata, "NAMESPACE", STR("stage"));
    Google__Protobuf__Value *labels = emit_struct_add(arena, node.metadata, "LABELS");
    labels->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE;
    labels->struct_value = emit_struct_value(arena);
    emit_struct_text(arena, labels->struct_value, "version", STR("v1"));
    emit_struct_text(arena, labels->struct_value, "app", STR("web"));
    assert_true(node_identity(&node, arena, &identity, &err));
    assert_true(identity.is_grpc);
    assert_true(str_eq_c(identity.ns, "stage"));
    assert_int_equal(identity.labels.count, 2);
    assert_true(str_eq_c(labels_get(identity.labels, "app"), "web"));
    arena_free(&arena);
}

static void a_stream_without_a_node_is_refused(void **state)
{
    (void)state;
    struct client_identity identity;
    struct err err = {0};
    assert_false(node_identity(NULL, NULL, &identity, &err));
    assert_non_null(strstr(err.text, "first request"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_read_or_refused),
        cmocka_unit_test(metadata_is_read),
        cmocka_unit_test(a_stream_without_a_node_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
