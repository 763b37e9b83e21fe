// libldap's objects with owners, its answers as values, its errors as ours.
#pragma once

#include <ldap.h>

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/join/secret.h"

namespace roamstead::join {

struct LdapMessageFree {
  void operator()(LDAPMessage* message) const { ldap_msgfree(message); }
};
using LdapMessage = std::unique_ptr<LDAPMessage, LdapMessageFree>;

struct LdapEntry {
  std::string distinguished_name;
  std::map<std::string, std::vector<Bytes>> attributes;  // as asked for

  // The first value; empty where there is none.
  std::string text(const std::string& attribute) const;
  ByteView bytes(const std::string& attribute) const;
};

std::vector<LdapEntry> ldap_entries(LDAP* connection, LDAPMessage* chain,
                                    const std::vector<std::string>& attributes);

// The attributes of an account, for adding or changing it. What is put in is overwritten when it goes.
class LdapAttributes {
 public:
  void add(int operation, const char* name, const std::vector<std::string>& values);
  void add_secret(int operation, const char* name, SecretBytes value);
  // Valid until this object changes.
  LDAPMod** list();

 private:
  struct One {
    std::string name;
    std::vector<SecretBytes> values;
    std::vector<berval> views;
    std::vector<berval*> pointers;
    LDAPMod modification{};
  };
  std::vector<std::unique_ptr<One>> attributes_;
  std::vector<LDAPMod*> pointers_;
};

timeval ldap_time(std::chrono::milliseconds time);

// `what` says what was tried and where; `detail` is the server's own word, which may be empty.
Error ldap_error(int code, std::string_view detail, const std::string& what);

}  // namespace roamstead::join
