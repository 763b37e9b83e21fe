// Ids that nobody can guess and people can type.
#pragma once

#include <cstddef>
#include <string>

namespace roamstead {

// So many random bytes (at most 64) from the operating system's generator as lower-case hexadecimal digits.
std::string random_hex(std::size_t bytes);

}  // namespace roamstead
