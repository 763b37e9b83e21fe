// What a check of a disk's file found, in the words of whoever knows the format.
#pragma once

#include <cstdint>
#include <string>

namespace roamstead::vdisk {

struct Finding {
  enum class Severity {
    error,    // the file breaks its format: some reader will refuse it or read something else
    warning,  // readable, but damaged in a part that has a second copy, or doubtful
    note      // worth knowing, nothing wrong
  };

  Severity severity = Severity::error;
  std::uint64_t offset = 0;  // bytes from the start of the file
  std::string text;          // what is wrong and what was expected, without file name and offset
};

}  // namespace roamstead::vdisk
