// Versions of profiles as verbs name them, and what a person reads of them.
#pragma once

#include <optional>
#include <string>

#include "coordinator/cli/repository_access.h"

namespace roamstead::cli {

// NAME or NAME@VERSION; an '@' that no number follows belongs to the name.
struct ProfileVersion {
  std::string name;
  std::optional<std::uint64_t> version;  // none: the head
};
ProfileVersion parse_profile(const std::string& text);

struct OpenTree {
  std::unique_ptr<repository::Repository> repository;
  std::unique_ptr<repository::Tree> tree;
};
Result<OpenTree> open_tree(const RepositoryChoice& choice, const std::string& profile);

// Two versions of one profile.
struct OpenTrees {
  std::unique_ptr<repository::Repository> repository;
  std::unique_ptr<repository::Tree> before;
  std::unique_ptr<repository::Tree> after;
};
Result<OpenTrees> open_two_trees(const RepositoryChoice& choice, const std::string& older,
                                 const std::string& newer);

// "2024-01-31 12:00:00Z"; "-" before 1970.
std::string seconds_text(std::uint64_t time_100ns);

}  // namespace roamstead::cli
