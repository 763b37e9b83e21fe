#include "common/base/result.h"

namespace roamstead {

std::string_view to_string(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid_argument:
      return "invalid-argument";
    case ErrorCode::not_found:
      return "not-found";
    case ErrorCode::exists:
      return "exists";
    case ErrorCode::corrupt:
      return "corrupt";
    case ErrorCode::unsupported:
      return "unsupported";
    case ErrorCode::io:
      return "io";
    case ErrorCode::full:
      return "full";
    case ErrorCode::denied:
      return "denied";
    case ErrorCode::busy:
      return "busy";
    case ErrorCode::stale:
      return "stale";
    case ErrorCode::conflict:
      return "conflict";
    case ErrorCode::cancelled:
      return "cancelled";
    case ErrorCode::timeout:
      return "timeout";
    case ErrorCode::unavailable:
      return "unavailable";
    case ErrorCode::protocol:
      return "protocol";
    case ErrorCode::internal:
      return "internal";
  }
  return "unknown";
}

std::string Error::to_string() const {
  std::string text;
  for (auto it = contexts.rbegin(); it != contexts.rend(); ++it) {
    text += *it;
    text += ": ";
  }
  text += message;
  return text;
}

}  // namespace roamstead
