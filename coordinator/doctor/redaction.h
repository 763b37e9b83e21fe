// Texts that may leave the host: names of people and machines become the same meaningless words everywhere in
// one bundle, and what could be a secret is gone.
#pragma once

#include <map>
#include <set>
#include <string>

namespace roamstead::doctor {

class Redaction {
 public:
  // `keep_names`: only secrets are taken out.
  explicit Redaction(bool keep_names);

  // A name of that kind ("desktop"), to be replaced wherever it stands.
  void add_name(const std::string& kind, const std::string& name);
  // PEM blocks and long runs of hexadecimal or base64 digits go, then names.
  std::string apply(std::string text) const;

 private:
  const bool keep_names_;
  std::string salt_;  // so that names cannot be found out by trying
  std::map<std::string, std::string> names_;
};

}  // namespace roamstead::doctor
