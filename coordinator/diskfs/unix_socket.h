// Unix sockets by path, however long the path.
#pragma once

#include <string>

#include "common/base/result.h"

namespace roamstead::diskcontrol {

// An open descriptor, closed with the object; -1 for none.
class Descriptor {
 public:
  explicit Descriptor(int number = -1) : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(other.release()) {}
  Descriptor& operator=(Descriptor&& other) noexcept;
  ~Descriptor();

  int number() const { return number_; }
  int release() {
    auto number = number_;
    number_ = -1;
    return number;
  }

 private:
  int number_;
};

// ErrorCode::unavailable when nobody listens there.
Result<Descriptor> connect_unix(const std::string& path);
// A listening socket, mode 0600. One that nobody listens on any more is replaced; ErrorCode::busy when
// somebody does.
Result<Descriptor> listen_unix(const std::string& path);

}  // namespace roamstead::diskcontrol
