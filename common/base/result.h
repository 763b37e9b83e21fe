// Errors as values. Everything that can fail in the field returns Result<T>; exceptions are for bugs.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>
#include <vector>

namespace roamstead {

enum class ErrorCode {
  invalid_argument,  // the caller asked for something that cannot be
  not_found,
  exists,
  corrupt,      // foreign or stored bytes are not what their format says
  unsupported,  // valid, but a feature we refuse by name
  io,           // the operating system failed a read, write, flush …
  full,         // no space left
  denied,       // not allowed for this desktop, session or user
  busy,         // held by somebody else now; retrying later may help
  stale,        // superseded: old epoch, old incarnation, old version
  conflict,
  cancelled,
  timeout,
  unavailable,  // the other side cannot be reached; retrying later may help
  protocol,     // the other side broke the wire protocol
  internal,     // a broken invariant of our own
};

std::string_view to_string(ErrorCode code);

// What went wrong, where, and what to do. `message` is the innermost sentence; each layer that knows more
// adds one context on the way out ("layer 2 of disk a.vhdx").
struct [[nodiscard]] Error {
  ErrorCode code = ErrorCode::internal;
  std::string message;
  std::vector<std::string> contexts;  // innermost first

  Error(ErrorCode error_code, std::string text) : code(error_code), message(std::move(text)) {}

  Error&& with(std::string context) && {
    contexts.push_back(std::move(context));
    return std::move(*this);
  }
  // "outer: inner: message"
  std::string to_string() const;
};

template <typename T>
using Result = tl::expected<T, Error>;

inline tl::unexpected<Error> fail(ErrorCode code, std::string message) {
  return tl::unexpected<Error>(Error(code, std::move(message)));
}
inline tl::unexpected<Error> fail(Error error) { return tl::unexpected<Error>(std::move(error)); }

}  // namespace roamstead

#define RS_CONCAT_INNER(a, b) a##b
#define RS_CONCAT(a, b) RS_CONCAT_INNER(a, b)

// RS_TRY(auto x, expression): declares x from the value, or returns the error.
#define RS_TRY_IMPL(temporary, declaration, ...)                                             \
  auto temporary = (__VA_ARGS__);                                                            \
  if (!temporary) return ::tl::unexpected<::roamstead::Error>(std::move(temporary).error()); \
  declaration = std::move(*temporary)
#define RS_TRY(declaration, ...) RS_TRY_IMPL(RS_CONCAT(rs_try_, __LINE__), declaration, __VA_ARGS__)

// RS_TRY_CTX(auto x, "context", expression): the same, the error gaining a context.
#define RS_TRY_CTX_IMPL(temporary, declaration, context, ...)                                              \
  auto temporary = (__VA_ARGS__);                                                                          \
  if (!temporary) return ::tl::unexpected<::roamstead::Error>(std::move(temporary).error().with(context)); \
  declaration = std::move(*temporary)
#define RS_TRY_CTX(declaration, context, ...) \
  RS_TRY_CTX_IMPL(RS_CONCAT(rs_try_, __LINE__), declaration, context, __VA_ARGS__)

// RS_CHECK(expression): for Result<void>; returns the error.
#define RS_CHECK(...)                                                                                      \
  do {                                                                                                     \
    auto rs_check_result = (__VA_ARGS__);                                                                  \
    if (!rs_check_result) return ::tl::unexpected<::roamstead::Error>(std::move(rs_check_result).error()); \
  } while (false)
#define RS_CHECK_CTX(context, ...)                                                                   \
  do {                                                                                               \
    auto rs_check_result = (__VA_ARGS__);                                                            \
    if (!rs_check_result)                                                                            \
      return ::tl::unexpected<::roamstead::Error>(std::move(rs_check_result).error().with(context)); \
  } while (false)
