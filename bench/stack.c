/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* In a file of its own, so that no caller has it inlined; see stack.h. */
#include "bench/stack.h"

#include <err.h>
#include <stdlib.h>

struct object {
    struct object *next;
};

struct stack {
    _Alignas(64) struct object *first; /* a line of its own: each thread has another stack */
    char *memory;
};

struct stack *stack_new(size_t size, size_t count)
{
    struct stack *stack = aligned_alloc(64, sizeof(*stack));
    char *memory = aligned_alloc(64, (size * count + 63) & ~(size_t)63);

    if (!stack || !memory)
        err(1, "no memory");
    *stack = (struct stack){ .memory = memory };
    for (size_t i = 0; i < count; i++)
        stack_push(stack, memory + i * size);
    return stack;
}

void *stack_pop(struct stack *stack)
{
    struct object *object = stack->first;

    if (object)
        stack->first = object->next;
    return object;
}

void stack_push(struct stack *stack, void *object)
{
    struct object *first = object;

    first->next = stack->first;
    stack->first = first;
}

void stack_free(struct stack *stack)
{
    if (!stack)
        return;
    free(stack->memory);
    free(stack);
}
