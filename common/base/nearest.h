// What was probably meant by a word that is not known.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace roamstead {

// How many letters are to be put in, left out or replaced to make one of the other.
std::size_t edit_distance(std::string_view a, std::string_view b);
// The nearest of the words; "" when none is near: no more than two letters, or a third of the word, differ.
std::string nearest(std::string_view word, const std::vector<std::string>& known);

}  // namespace roamstead
