// Hostile input: whatever is asked of it ends within a second, in an answer or in an error that says where.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <limits>
#include <random>
#include <string>

#include "common/base/result.h"
#include "tests/support/platform.h"

namespace roamstead::support {

// Whether a message says where in a file or on a device: a number of something that can be looked up there.
inline bool names_a_place(const std::string& text) {
  for (const char* word : {"offset", "byte", "sector", "cluster", "record", "block", "descriptor", "entry",
                           "partition", "layer", "USN"})
    for (auto at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) {
      const auto end = at + std::string(word).size();
      if (end + 1 < text.size() && text[end] == ' ' &&
          std::isdigit(static_cast<unsigned char>(text[end + 1])) != 0)
        return true;
    }
  return false;
}

// What is done with one damaged input. Fails the test at its end if that took more than a second of processor
// time (the machine may be busy), and at once where an error does not say what is wrong with what.
class HostileTrial {
 public:
  // `place`: what every error must name, the file or the device.
  explicit HostileTrial(std::string place) : place_(std::move(place)) {}
  HostileTrial(const HostileTrial&) = delete;
  HostileTrial& operator=(const HostileTrial&) = delete;
  ~HostileTrial() { CHECK(seconds() < 1.0); }

  // Whether there is an answer.
  template <class T>
  bool note(const Result<T>& result) {
    if (result) return true;
    ++errors_;
    const auto text = result.error().to_string();
    CHECK_MESSAGE(result.error().code != ErrorCode::internal, text);
    CHECK_MESSAGE(text.find(place_) != std::string::npos, text);
    CHECK_MESSAGE(names_a_place(text), text);
    return false;
  }
  std::size_t errors() const { return errors_; }
  double seconds() const { return processor_seconds() - start_; }

 private:
  const std::string place_;
  const double start_ = processor_seconds();
  std::size_t errors_ = 0;
};

// A number that parsers trip over in the place of `was`: near it, near nothing, near what `width` bytes can
// hold, near the file's end in bytes or in sectors.
inline std::uint64_t awkward_number(std::mt19937_64& random, std::uint64_t was, std::size_t width,
                                    std::uint64_t file_bytes) {
  const auto largest = width >= 8 ? ~std::uint64_t{0} : (std::uint64_t{1} << 8 * width) - 1;
  const std::array<std::uint64_t, 9> near = {
      was, 0, largest, largest / 2, file_bytes, file_bytes / 512, was * 2, was / 2, random()};
  auto number = near[random() % near.size()] + random() % 5 - 2;
  if (random() % 4 == 0) number = was ^ std::uint64_t{1} << random() % (8 * width);
  return number & largest;
}

}  // namespace roamstead::support
