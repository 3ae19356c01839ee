// Package frameworktest runs the handlers inside the web frameworks that people
// use, with the middlewares that these bring along: streams work there, or are
// refused in clear words. The frameworks are dependencies of this module alone.
package frameworktest
