// Memory for what is seldom asked for, in processes that mostly wait.
#pragma once

#include <cstddef>

namespace roamstead::os {

// Zeroed at first. While it is put away it keeps what is in it and is not in the process's working set: on
// Windows a section whose view is closed, which costs microseconds each way. Elsewhere ordinary memory.
class IdleMemory {
 public:
  IdleMemory() = default;
  // Throws std::bad_alloc, as take_out() does.
  explicit IdleMemory(std::size_t bytes);
  ~IdleMemory();
  IdleMemory(IdleMemory&& other) noexcept;
  IdleMemory& operator=(IdleMemory&& other) noexcept;

  // Not while it is put away. Another place after each take_out().
  std::byte* data() const { return data_; }
  std::size_t size() const { return bytes_; }

  void put_away() noexcept;
  void take_out();

 private:
  void* section_ = nullptr;  // null: ordinary memory
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace roamstead::os
