// The Gateway API's conformance suite as a program. After its setup, and after each test of a mesh, it says so and waits
// for a line of input: meanwhile somebody can ask the mesh what it has seen of that test.
package conformance

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/gateway-api/conformance"
	"sigs.k8s.io/gateway-api/conformance/tests"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"
	"sigs.k8s.io/gateway-api/pkg/features"
	"sigs.k8s.io/yaml"
)

func TestConformance(t *testing.T) {
	nameTheRightManifest(t)
	options := conformance.DefaultOptions(t)
	input := bufio.NewReader(os.Stdin)
	stop := func(after string, manifests []string) {
		fmt.Println("stop:", after, len(manifests))
		// At the end of input nobody is there to wait for.
		_, _ = input.ReadString('\n')
	}
	options.Hook = func(_ *testing.T, test suite.ConformanceTest, _ *suite.ConformanceTestSuite) {
		if slices.Contains(test.Features, features.SupportMesh) {
			stop(test.ShortName, test.Manifests)
		}
	}
	it, err := suite.NewConformanceTestSuite(options)
	require.NoError(t, err)
	it.Setup(t, tests.ConformanceTests)
	stop("setup", nil)
	require.NoError(t, it.Run(t, tests.ConformanceTests))

	report, err := it.Report()
	require.NoError(t, err)
	text, err := yaml.Marshal(report)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(options.ReportOutputPath, text, 0o644))
}

// Up to v1.5.1 the test of 307 names the manifest of 303, in which nothing answers 307, and the suite does not use its own
// httproute-307-redirect.yaml: nothing can pass. v1.6 names it, and so does this.
func nameTheRightManifest(t *testing.T) {
	at := slices.IndexFunc(tests.ConformanceTests, func(test suite.ConformanceTest) bool {
		return test.ShortName == "MeshHTTPRoute307Redirect"
	})
	require.GreaterOrEqual(t, at, 0)
	require.Equal(t, []string{"tests/mesh/httproute-303-redirect.yaml"}, tests.ConformanceTests[at].Manifests,
		"the suite has been mended; so this is no more needed")
	tests.ConformanceTests[at].Manifests = []string{"tests/mesh/httproute-307-redirect.yaml"}
}
