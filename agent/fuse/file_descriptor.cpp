#include "agent/fuse/file_descriptor.h"

#include <cerrno>
#include <cstring>

namespace roamstead::agent {

Error system_error(int number, const std::string& what, const std::string& path) {
  auto code = ErrorCode::io;
  switch (number) {
    case ENOENT:
    case ENOTDIR:
      code = ErrorCode::not_found;
      break;
    case EEXIST:
      code = ErrorCode::exists;
      break;
    case ENOSPC:
    case EDQUOT:
      code = ErrorCode::full;
      break;
    case EACCES:
    case EPERM:
      code = ErrorCode::denied;
      break;
    case EOPNOTSUPP:
      code = ErrorCode::unsupported;
      break;
    default:
      break;
  }
  return Error(code, "cannot " + what + " " + path + ": " + std::strerror(number));
}

int errno_of(const Error& error) {
  switch (error.code) {
    case ErrorCode::exists:
      return EEXIST;
    case ErrorCode::full:
      return ENOSPC;
    case ErrorCode::unsupported:
      return EOPNOTSUPP;
    case ErrorCode::invalid_argument:
      return EINVAL;
    default:
      return EIO;
  }
}

}  // namespace roamstead::agent
