/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stack: the floor of a heap. Free objects of one size in a list, which is all that a heap needs
 * that has one size, one thread and nothing to check.
 */
#ifndef BENCH_STACK_H
#define BENCH_STACK_H

#include <stddef.h>

struct stack;

/** stack_new() - @count objects of @size bytes, which may hold a pointer; exits without memory. */
struct stack *stack_new(size_t size, size_t count);

/** stack_pop() - Return: an object; NULL if all are taken. */
void *stack_pop(struct stack *stack);

/** stack_push() - give one back. */
void stack_push(struct stack *stack, void *object);

/** stack_free() - with all its objects; NULL is allowed. */
void stack_free(struct stack *stack);

#endif
